"""The document in the forms that other programs read; each carries its facts as far as it can.

JSON alone has no infinite numbers: the other forms have the parameters as they were.
"""

import math
import pprint
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from tuner.answer.document import Document
from tuner.strict_json import read_params, to_json


def _to_json(document: Document) -> str:
    return to_json(document) + "\n"


def _with_numbers(document: Document) -> Document:
    """Return the document for a form that can hold every number."""
    texts = document.get("params_as_text")  # there is none in documents of 0.1.0
    if not texts:
        return document
    return {**document, "params": read_params(document["params"], texts), "params_as_text": None}


def _to_yaml(document: Document) -> str:
    import yaml

    text: str = yaml.safe_dump(_with_numbers(document), sort_keys=False)
    return text


def _to_toml(document: Document) -> str:
    import tomli_w

    return tomli_w.dumps(_without_none(_with_numbers(document)))


def _without_none(document: Document) -> Document:
    """Drop what is not known: TOML has no null."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }


def _to_env(document: Document) -> str:
    return "".join(
        f"BEST_{name.upper()}={shlex.quote(value)}\n"
        for name, value in _flatten(_with_numbers(document))
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


class _Expression(float):
    """A number that Python reads as it is written, infinite or not."""

    def __repr__(self) -> str:
        return super().__repr__() if math.isfinite(self) else f'float("{self:g}")'


def _as_expressions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_expressions(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_expressions(item) for item in value]
    return _Expression(value) if isinstance(value, float) else value


def _to_python(document: Document) -> str:
    shown = _as_expressions(_with_numbers(document))
    return (
        '"""The best weight decay of a study, by lambda-tuner."""\n\n'
        f"STUDY = {document['study']!r}\n"
        f"WEIGHT_DECAY = {document['weight_decay']!r}\n"
        f"L2_PENALTY = {document['l2_penalty']!r}\n"
        f"LR = {document['lr']!r}\n"
        f"PINNED = {document['pinned']!r}\n"
        f"BEST = {pprint.pformat(shown, sort_dicts=False)}\n"
    )


FORMATS: dict[str, Callable[[Document], str]] = {
    "json": _to_json,
    "yaml": _to_yaml,
    "toml": _to_toml,
    "env": _to_env,
    "python": _to_python,
}
