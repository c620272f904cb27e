"""Take a study's answer into another project: from a file, a web address or the database.

A file or an address needs the standard library alone; what a database needs is imported when one
is named.
"""

from os import PathLike, fspath
from pathlib import Path

from tuner.answer.best import Best, Rule
from tuner.answer.reading import read_document, read_json
from tuner.errors import AnswerError, TunerError

_STORAGES = ("sqlite", "postgres", "postgresql", "mysql", "mariadb")


def load_best(
    source: str | PathLike[str],
    study: str | None = None,
    rule: Rule | None = None,
    *,
    token: str | None = None,
) -> Best:
    """Return the answer of a study; reading changes nothing.

    ``source`` is the path of a JSON file that `tuner export` or `tuner run` has written, an
    http(s) address of one, or the URL of a storage. There it is the last recorded answer of
    ``study``, and if none was recorded, or a ``rule`` is asked for, what `tuner export` would
    print; ``study`` may be left out where the storage holds one only. Of a file, ``study`` and
    ``rule`` are checked. ``token`` is for an address that wants one, such as
    ``https://HOST/v1/studies/NAME/best`` of a `tuner serve`; without it TUNER_TOKEN, then
    TUNER_TOKEN_FILE. Whatever goes wrong is an AnswerError, which shows neither token nor password.
    """
    text = fspath(source)
    scheme, separator, _ = text.partition("://")
    if not separator:
        best = read_json(_read(Path(text)), text)
    elif scheme.lower() in ("http", "https"):
        from tuner.answer.web import load_from_web

        best = load_from_web(text, token)
    elif scheme.partition("+")[0] in _STORAGES:
        return _load_from_storage(text, study, rule)
    else:
        known = ", ".join(_STORAGES)
        raise AnswerError(
            f"An answer is in a file, at an http(s) address or in a storage ({known}), not at "
            f"{scheme}://"
        )
    for name, asked, found in (("study", study, best.study), ("rule", rule, best.rule)):
        if asked is not None and asked != found:
            raise AnswerError(f"{text} is of {name} {found!r}, not {asked!r}")
    return best


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnswerError(f"Cannot read {path}: {reason}") from error


def _load_from_storage(url: str, study: str | None, rule: Rule | None) -> Best:
    from storage import StorageError, explain_database_error, mask_url, open_storage
    from tuner.answer.document import build_document
    from tuner.answer.record import last_document
    from tuner.study import load_only_study, load_study_as_it_is

    try:
        storage = open_storage(url, read_only=True)
        loaded = load_only_study(storage) if study is None else load_study_as_it_is(storage, study)
        document = last_document(loaded) if rule is None else None
        return read_document(document or build_document(loaded, rule), mask_url(url))
    except (TunerError, StorageError) as error:
        raise AnswerError(str(error)) from error
    except Exception as error:
        if (explanation := explain_database_error(error)) is None:
            raise  # an error of ours
        raise AnswerError(explanation) from None
