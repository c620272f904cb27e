"""Make a `Best` of JSON, with the standard library alone.

Keys that are not known are passed over, and those that may be null may be missing: so documents of
older and newer releases are read alike.
"""

import json
import math
import operator
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any

from tuner.answer.best import SCHEMA, Best
from tuner.errors import AnswerError
from tuner.strict_json import read_params


def read_json(content: bytes, where: str) -> Best:
    """Return the answer that JSON text holds; raises AnswerError, which names ``where``."""
    try:
        document = json.loads(content, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:  # of the JSON, or of its UTF-8
        raise AnswerError(f"{where} is no JSON document: {error}") from None
    return read_document(document, where)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


def read_document(document: Any, where: str) -> Best:
    """Return the answer that a document holds; raises AnswerError, which names ``where``."""
    found = document.get("schema") if isinstance(document, Mapping) else None
    if found != SCHEMA:
        what = f"its schema is {found!r}" if found else "it names no schema"
        raise AnswerError(f"{where} is no answer of lambda-tuner: {what}, not {SCHEMA!r}")
    best: Best = _read(Best, document, where, "")
    return replace(best, params=read_params(best.params, best.params_as_text))


def _read(kind: Any, value: Any, where: str, key: str) -> Any:
    """Return a value as its type in ``best`` says."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _read(arguments[0], value, where, key)
    if is_dataclass(kind) and isinstance(value, Mapping):
        return _read_fields(kind, value, where, key)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_read(a, v, where, key) for a, v in zip(kinds, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return {str(k): _read(arguments[1], v, where, f"{key}.{k}") for k, v in value.items()}
    is_fitting = (
        kind is Any
        or (origin is typing.Literal and value in arguments)
        or (kind is str and isinstance(value, str))
        or (kind is int and isinstance(value, int))
        or (kind is float and isinstance(value, int | float))
    )
    if not is_fitting or (kind in (int, float) and isinstance(value, bool)):
        raise AnswerError(f"{where} cannot be read: its {key!r} is {value!r}")
    try:
        return float(value) if kind is float else value
    except OverflowError:
        raise AnswerError(f"{where} cannot be read: its {key!r} is too large") from None


def _read_fields(kind: Any, value: Mapping[str, Any], where: str, key: str) -> Any:
    hints = typing.get_type_hints(kind)
    values = {}
    for one in fields(kind):
        path = f"{key}.{one.name}".lstrip(".")
        if one.name in value or _may_be_null(hints[one.name]):
            values[one.name] = _read(hints[one.name], value.get(one.name), where, path)
            _check_bounds(one, values[one.name], where, path)
        elif one.default is MISSING:
            raise AnswerError(f"{where} cannot be read: it has no {path!r}")
    return kind(**values)


def _check_bounds(one: Field[Any], value: Any, where: str, key: str) -> None:
    """Refuse a number that the schema does not allow: an exponent, say, in the place of λ."""
    for name, sign, is_met in (("ge", ">=", operator.ge), ("gt", ">", operator.gt)):
        bound = one.metadata.get(name)
        if bound is not None and value is not None and not is_met(value, bound):
            needed = f"{sign} {bound}"
            raise AnswerError(f"{where} cannot be read: its {key!r} is {value!r}, not {needed}")


def _may_be_null(kind: Any) -> bool:
    return type(None) in typing.get_args(kind)
