"""What every benchmark is told: how much to measure, on which data, on which databases."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATASET = "mnist"
SEED = 0

# Tells people what is being measured now.
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """What every benchmark is told; what is ``quick`` is measured less often, or on less data."""

    is_quick: bool
    data_dir: Path  # absolute: subprocesses run elsewhere
    servers: tuple[str, ...]  # URLs, in which passwords may stand
    folder: Path  # for SQLite files and exports; removed at the end
    announce: Announce


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return how often something was measured, its median and its extremes, as the JSON has it."""
    return {
        "repetitions": len(values),
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def show_spread(values: Sequence[float], digits: int = 2) -> list[str]:
    """Return median, minimum and maximum as three cells of a table."""
    return [
        f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    ]
