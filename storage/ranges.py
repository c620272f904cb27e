"""Read rows by many ids: by ranges where the ids lie side by side, else by lists of them.

What others have in training, and what is new, lies side by side. A range's statement never changes
its text, while a list is taken apart anew each time, by SQLAlchemy and by the driver.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Row

# A range may have gaps of so many other ids.
_WIDEST_GAP = 32
_MANY_RANGES = 8


def find_ranges(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the ranges of these sorted ids, with small gaps."""
    ranges: list[tuple[int, int]] = []
    for trial_id in ids:
        if ranges and trial_id - ranges[-1][1] <= _WIDEST_GAP:
            ranges[-1] = (ranges[-1][0], trial_id)
        else:
            ranges.append((trial_id, trial_id))
    return ranges


def parts(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yield the ids in lists that a statement can take."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def read_rows(
    connection: Connection,
    in_range: Executable,
    among: Executable,
    ids: Sequence[int],
    part_size: int,
) -> list[Row[Any]]:
    """Return the rows of all of these sorted ids, and maybe of some others.

    The statements have parameters ``low`` and ``high``, and ``ids``.
    """
    ranges = find_ranges(ids)
    rows: list[Row[Any]] = []
    if len(ranges) <= _MANY_RANGES:
        for low, high in ranges:
            rows += connection.execute(in_range, {"low": low, "high": high}).all()
    else:
        for some in parts(ids, part_size):
            rows += connection.execute(among, {"ids": some}).all()
    return rows
