"""Take a study's answer into another project: from a file, a web address or the database.

A file or an address needs the standard library alone; what a database needs is imported when one
is named.
"""

import json
import urllib.error
import urllib.request
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from tuner.answer.best import Best, Rule
from tuner.answer.reading import read_document
from tuner.errors import AnswerError

_TIMEOUT_SECONDS = 30
_MAX_BYTES = 10_000_000  # a document has a few thousand


def load_best(
    source: str | PathLike[str], study: str | None = None, rule: Rule | None = None
) -> Best:
    """Return the answer of a study; reading changes nothing.

    ``source`` is the path of a JSON file that `tuner export` or `tuner run` has written, an
    http(s) address of one, or the URL of a storage. There it is the last recorded answer of
    ``study``, and if none was recorded, or a ``rule`` is asked for, what `tuner export` would
    print; ``study`` may be left out where the storage holds one only. Of a file, ``study`` and
    ``rule`` are checked. Raises AnswerError; from a storage, TunerError and ``StorageError``.
    """
    text = fspath(source)
    if text.startswith(("http://", "https://")):
        best = read_document(_parse(_fetch(text), text), text)
    elif "://" in text:
        return _load_from_storage(text, study, rule)
    else:
        best = read_document(_parse(_read(Path(text)), text), text)
    for name, asked, found in (("study", study, best.study), ("rule", rule, best.rule)):
        if asked is not None and asked != found:
            raise AnswerError(f"{text} is of {name} {found!r}, not {asked!r}")
    return best


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AnswerError(f"Cannot read {path}: {error.strerror}") from error


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            content: bytes = response.read(_MAX_BYTES)
    except (OSError, ValueError) as error:  # URLError and HTTPError are OSErrors
        reason = getattr(error, "reason", None) or error
        status = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise AnswerError(f"Cannot read {url}: {status}{reason}") from error
    return content


def _parse(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:  # of the JSON, or of its UTF-8
        raise AnswerError(f"{where} is no JSON document: {error}") from error


def _load_from_storage(url: str, study: str | None, rule: Rule | None) -> Best:
    from storage import mask_url, open_storage
    from tuner.answer.document import build_document
    from tuner.answer.record import last_document
    from tuner.study import load_only_study, load_study

    storage = open_storage(url, read_only=True)
    loaded = load_only_study(storage) if study is None else load_study(storage, study)
    document = last_document(loaded) if rule is None else None
    return read_document(document or build_document(loaded, rule), mask_url(url))
