"""Seconds an epoch and model by way of training and number of lanes, beside the matrix limit."""

import statistics
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.arithmetic import matrix_speed, operations_an_epoch
from benchmarks.memory import MIB, peak_memory
from benchmarks.section import Figure, Section
from benchmarks.setting import DATASET, SEED, Setting, show_spread, spread
from benchmarks.ways import (
    BATCH_SIZE,
    BY_HAND,
    IN_MEMORY,
    ONE_BY_ONE,
    STACKED,
    TEXTBOOK,
    TRAINERS,
    Trainer,
    Way,
    find_accuracy,
    seconds_an_epoch,
    train_anew,
)
from objectives import DATASETS
from objectives.seeds import derive_seed, permutation

LANES = (1, 2, 4, 8, 16, 32)
_MEMORY_LANES = 16
# 30 of 10,000 images; summing in another order moved at most 4 of MNIST's (seeds 0 to 3).
_MAX_ACCURACY_DIFFERENCE = 0.3
_FACTS = DATASETS[DATASET]

NOTE = """\
Training alone, without scoring, imports or set-up of data. A round trains every way once on {part}
of an epoch, so that all meet the same load; medians of {rounds} rounds. The *textbook loop* is
torchvision's `ToTensor` and a `DataLoader`; the *in-memory loop* the same on tensors in memory; the
*plain-torch program* is ours for models that do not train side by side. The limit is the matrix
products of an epoch at the speed of a large `torch.mm` with one thread ({speed:.0f} billion
operations a second, measured in every round): {limit:.3f} s. Peak memory is that of a fresh
process, with torch and the data."""


@dataclass
class Timing:
    """What was measured of one way."""

    way: Way
    seconds: list[float] = field(default_factory=list)  # an epoch and model
    peak_bytes: int | None = None

    @property
    def median(self) -> float:
        """Seconds an epoch and model."""
        return statistics.median(self.seconds)


def measure(setting: Setting) -> Section:
    """Time every way in turn, then measure memory, and compare what they learn."""
    n_rounds, part = (3, 40) if setting.is_quick else (7, 5)
    # As many as torch takes by default: read before any way sets its own.
    timings = [Timing(way) for way in _ways(torch.get_num_threads())]
    setting.announce("lanes, first uses")
    trainers = {name: make(setting.data_dir) for name, make in TRAINERS.items()}
    for timing in timings:  # first uses import and allocate
        train_anew(trainers[timing.way.name], timing.way, torch.arange(2 * BATCH_SIZE))
    speeds = []
    for number in range(n_rounds):
        setting.announce(f"lanes, round {number + 1} of {n_rounds}")
        order = _order(number)[: _FACTS.n_train // part]
        for timing in timings:
            torch.set_num_threads(1)
            speeds.append(matrix_speed())
            timing.seconds.append(seconds_an_epoch(trainers[timing.way.name], timing.way, order))
    _measure_memory(timings, setting)
    setting.announce("lanes, accuracies")
    difference = _accuracy_difference(trainers, setting, part if setting.is_quick else 1)
    speed = statistics.median(speeds)
    limit = operations_an_epoch(_FACTS) / speed
    return Section(
        title="Seconds an epoch and model",
        note=NOTE.format(part=f"1/{part}", rounds=n_rounds, speed=speed / 1e9, limit=limit),
        headings=_HEADINGS,
        rows=_rows(timings, limit),
        figures=_figures(timings, limit, difference),
        raw={"limit_seconds": limit, "matrix_speed": spread(speeds), "ways": _raw(timings)},
    )


def _ways(default_threads: int) -> list[Way]:
    plain = [Way(name, 1) for name in (TEXTBOOK, IN_MEMORY, ONE_BY_ONE)]
    lanes = [Way(name, n_lanes) for name in (STACKED, BY_HAND) for n_lanes in LANES]
    # First the loop as it comes, with torch's own choice of threads.
    return [Way(TEXTBOOK, 1, default_threads), *plain, *lanes]


def _order(number: int) -> torch.Tensor:
    return torch.from_numpy(permutation(_FACTS.n_train, derive_seed(SEED, "order", number)))


def _measure_memory(timings: list[Timing], setting: Setting) -> None:
    for timing in timings:
        way = timing.way
        if setting.is_quick and way != Way(BY_HAND, _MEMORY_LANES):
            continue
        setting.announce(f"lanes, memory of {way.name}, {way.n_lanes}")
        timing.peak_bytes = peak_memory(way, setting.data_dir)


def _accuracy_difference(trainers: dict[str, Trainer], setting: Setting, part: int) -> float:
    """Return how many points apart the ways' validation accuracies are after the same training.

    All start from the same weights and see the same images in the same order.
    """
    order = _order(0)[: _FACTS.n_train // part]
    accuracies = []
    for name, trainer in trainers.items():
        _, model = train_anew(trainer, Way(name, 1), order)
        accuracies.append(find_accuracy(model, setting.data_dir))
    return 100 * (max(accuracies) - min(accuracies))


_HEADINGS = (
    "way", "lanes", "threads", "median s", "min s", "max s", "speed-up", "of limit", "peak MiB"
)  # fmt: skip


def _rows(timings: list[Timing], limit: float) -> list[list[str]]:
    textbook = timings[0].median
    return [
        [
            timing.way.name,
            str(timing.way.n_lanes),
            str(timing.way.n_threads),
            *show_spread(timing.seconds, 3),
            f"{textbook / timing.median:.1f}",
            f"{limit / timing.median:.0%}",
            "-" if timing.peak_bytes is None else f"{timing.peak_bytes / MIB:,.0f}",
        ]
        for timing in timings
    ]


def _figures(timings: list[Timing], limit: float, difference: float) -> list[Figure]:
    by_name = {timing.way.name: timing for timing in timings}  # the last of each name
    best = min(timings, key=lambda timing: timing.median)
    rate = f"K = {best.way.n_lanes}"
    figures = [
        Figure(f"best {best.way.name}, against the {name}", by_name[name].median / best.median,
               " times", aim, at_least=True, spread=rate)
        for name, aim in ((IN_MEMORY, 2.2), (ONE_BY_ONE, 2.2))
    ]  # fmt: skip
    figures += [
        Figure("share of the matrix-product limit", 100 * limit / best.median, " %", 75,
               at_least=True, spread=rate),
        Figure("accuracies of all ways after the same epoch", difference, " points apart",
               _MAX_ACCURACY_DIFFERENCE, at_least=False),
    ]  # fmt: skip
    peaks = [t.peak_bytes for t in timings if t.way == Way(BY_HAND, _MEMORY_LANES) and t.peak_bytes]
    figures += [
        Figure(f"peak memory of {_MEMORY_LANES} lanes", peak / 1e9, " GB", 1.5, at_least=False)
        for peak in peaks
    ]
    return figures


def _raw(timings: list[Timing]) -> list[dict[str, Any]]:
    return [
        {
            "way": timing.way.name,
            "lanes": timing.way.n_lanes,
            "threads": timing.way.n_threads,
            "seconds": spread(timing.seconds),
            "peak_bytes": timing.peak_bytes,
        }
        for timing in timings
    ]
