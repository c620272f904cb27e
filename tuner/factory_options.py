"""Options of the function that makes a user's problem: read from texts, checked by kind and name.

What the function takes is known where it is loaded: see `objectives.factories`.
"""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from tuner.ranges import split_pair
from tuner.strict_json import to_json

FLAG = "--objective-option"
Value = str | bool | int | float | None


def read_options(texts: Iterable[str]) -> dict[str, Value]:
    """Return the values of ``NAME=VALUE`` by name; raises UsageError."""
    found: dict[str, Value] = {}
    for text in texts:
        name, value = split_pair(text, FLAG, found)
        found[name] = _read_value(value)
    return found


def check_options(options: Mapping[str, Value] | None) -> dict[str, Value] | None:
    """Return options that a study may keep, None for none; raises ValueError."""
    for name, value in (options or {}).items():
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no name of an argument")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}: numbers are finite")
    return dict(options) if options else None


def tell_options(options: Mapping[str, Value]) -> str:
    """Return options as the command line has them."""
    return ", ".join(f"{name}={_show(value)}" for name, value in options.items())


def _show(value: Value) -> str:
    is_plain = isinstance(value, str) and value and _read_value(value) == value
    return str(value) if is_plain else to_json(value)


def _read_value(text: str) -> Value:
    """Return a scalar of JSON or TOML, or else the text itself."""
    for read in (json.loads, _read_toml):
        try:
            value = read(text)
        except ValueError:
            continue
        is_odd = isinstance(value, float) and not math.isfinite(value)
        if value is None or (isinstance(value, str | bool | int | float) and not is_odd):
            return value
    return text


def _read_toml(text: str) -> Any:
    """Return the value of a line of TOML; ValueError for a comment, too, which would be lost."""
    if "#" in text or len(text.splitlines()) > 1:
        raise ValueError(text)
    return tomllib.loads(f"value = {text}")["value"]
