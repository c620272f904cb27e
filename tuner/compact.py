"""Keep our own attributes within a column of any database, 65,535 bytes on MySQL and MariaDB.

Curves are thinned, passes become ranges, documents are kept in parts. What was stored whole, as
older versions did, is read as well.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

# A curve has no more values: of six significant digits each, they take 14 KB.
MOST_VALUES = 1000
_SIGNIFICANT_DIGITS = 6

# A part is a text of JSON, which doubles its quotation marks when it is stored as JSON once more.
_PART_CHARACTERS = 30_000
_PARTS, _DIGEST = "parts", "digest"


def curve_attrs(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Return the user attributes for a value an epoch: the last, and every k-th before it.

    ``NAME_every`` tells k where it is not 1, so that ``NAME[-1 - i]`` is of i * k epochs before the
    last. Values are rounded to six significant digits.
    """
    every = max(1, math.ceil(len(values) / MOST_VALUES))
    kept = [float(f"{value:.{_SIGNIFICANT_DIGITS}g}") for value in values[::-1][::every][::-1]]
    return {name: kept} if every == 1 else {name: kept, f"{name}_every": every}


def pack_passes(passes: Sequence[int]) -> list[list[int]]:
    """Return passes as ranges, first and last, in order: a few numbers for thousands of epochs."""
    ranges: list[list[int]] = []
    for number in passes:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def unpack_passes(stored: Sequence[int | Sequence[int]]) -> tuple[int, ...]:
    """Return the passes that are stored as ranges, or one by one as they once were."""
    ranges = ((item, item) if isinstance(item, int) else item for item in stored)
    return tuple(number for first, last in ranges for number in range(first, last + 1))


def write_document(study: "optuna.Study", key: str, document: Any) -> None:
    """Store a document as a user attribute of a study, in parts if it is long.

    The attribute itself comes last: whoever reads meanwhile finds all of the old or all of the new.
    Safe to repeat.
    """
    text = json.dumps(document)
    if len(text) <= _PART_CHARACTERS:
        study.set_user_attr(key, document)
        return
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    starts = range(0, len(text), _PART_CHARACTERS)
    for i, start in enumerate(starts):
        study.set_user_attr(_part_key(key, digest, i), text[start : start + _PART_CHARACTERS])
    study.set_user_attr(key, {_PARTS: len(starts), _DIGEST: digest})


def read_document(attrs: Mapping[str, Any], key: str) -> Any | None:
    """Return the document that a study's user attributes hold under a key; None without one."""
    stored = attrs.get(key)
    if not isinstance(stored, dict) or stored.keys() != {_PARTS, _DIGEST}:
        return stored
    parts = range(stored[_PARTS])
    return json.loads("".join(attrs[_part_key(key, stored[_DIGEST], i)] for i in parts))


def _part_key(key: str, digest: str, i: int) -> str:
    return f"{key}:{digest}:{i}"
