"""The document in the forms that other programs read; each carries its facts as far as it can."""

import json
import pprint
import re
import shlex
from collections.abc import Callable, Iterator

from tuner.answer.document import Document


def _to_json(document: Document) -> str:
    return json.dumps(document, indent=2) + "\n"


def _to_yaml(document: Document) -> str:
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False)
    return text


def _to_toml(document: Document) -> str:
    import tomli_w

    return tomli_w.dumps(_without_none(document))


def _without_none(document: Document) -> Document:
    """Drop what is not known: TOML has no null."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }


def _to_env(document: Document) -> str:
    return "".join(
        f"BEST_{name.upper()}={shlex.quote(value)}\n" for name, value in _flatten(document)
    )


def _flatten(document: Document, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in document.items():
        # A function's parameters and a program's versions have names that no shell takes.
        name = prefix + re.sub(r"[^A-Za-z0-9_]", "_", key)
        if isinstance(value, dict):
            yield from _flatten(value, f"{name}_")
        elif isinstance(value, list):
            yield name, " ".join(map(str, value))
        elif value is not None:
            yield name, str(value)


def _to_python(document: Document) -> str:
    return (
        '"""The best weight decay of a study, by lambda-tuner."""\n\n'
        f"STUDY = {document['study']!r}\n"
        f"WEIGHT_DECAY = {document['weight_decay']!r}\n"
        f"L2_PENALTY = {document['l2_penalty']!r}\n"
        f"LR = {document['lr']!r}\n"
        f"PINNED = {document['pinned']!r}\n"
        f"BEST = {pprint.pformat(document, sort_dicts=False)}\n"
    )


FORMATS: dict[str, Callable[[Document], str]] = {
    "json": _to_json,
    "yaml": _to_yaml,
    "toml": _to_toml,
    "env": _to_env,
    "python": _to_python,
}
