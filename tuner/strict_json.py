"""JSON that every reader takes: RFC 8259 knows no NaN and no Infinity; Python's ``json`` does.

A *value* that JSON cannot hold is null. A *parameter* is a choice that must not be lost: it becomes
the text "inf", "-inf" or "nan", and who writes an answer says of which parameters this is so.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

_TEXTS = ("inf", "-inf", "nan")


def to_json(value: object, *, indent: int | None = 2) -> str:
    """Return plain data as strict JSON; what is no number, text, list or mapping as its text."""
    return json.dumps(finite(value), indent=indent, default=str, allow_nan=False)


def finite(value: Any) -> Any:
    """Return plain data with null for each number that JSON cannot hold."""
    return _map(value, lambda x: None if _is_odd(x) else x)


def write_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with text for each number that JSON cannot hold."""
    written: dict[str, Any] = _map(params, lambda x: str(x) if _is_odd(x) else x)
    return written


def find_texts(params: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of parameters that `write_params` has to write as text; None if none."""
    written, without = write_params(params), finite(params)
    return tuple(name for name in params if written[name] != without[name]) or None


def read_params(params: Mapping[str, Any], texts: Collection[str] | None) -> dict[str, Any]:
    """Return parameters as they were before `write_params`; ``texts`` is what `find_texts` said."""
    changed = {name: _map(params[name], _read) for name in params if name in (texts or ())}
    return {**params, **changed}


def _read(value: Any) -> Any:
    return float(value) if isinstance(value, str) and value in _TEXTS else value


def _is_odd(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return plain data, each of its leaves changed."""
    if isinstance(value, Mapping):
        return {key: _map(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map(item, change) for item in value]
    return change(value)
