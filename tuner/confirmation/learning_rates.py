"""At which of its learning rates a λ is judged: the one that does best on the first fresh seeds.

A search of some thirty trials, most of them pruned, tells too little of the learning rate to trust
what it says: rungs at a worse one than their neighbours would make the learning rate look like λ.
So every kind of learning rate (see ``ladder``) is trained at every λ for two seeds. Two seeds alone
would choose by chance; but what a learning rate is worth changes little from one rung to the next,
so a kind's losses at the neighbouring rungs count half.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from tuner.confirmation.ladder import Candidates
from tuner.confirmation.statistics import Values, is_finite, sign_of
from tuner.confirmation.values import Candidate
from tuner.spec import Direction

# So many seeds decide on the learning rates.
N_SEEDS = 2


def find_outrun(
    candidates: Candidates, values: Mapping[Candidate, Values], n_seeds: int, direction: Direction
) -> frozenset[Candidate]:
    """Return the candidates at whose λ another learning rate does better; ties to the first kind.

    None as long as a value of the first two seeds is missing. Later values change nothing, so that
    whoever asks, whenever, comes to the same choice.
    """
    rows = [row for row in candidates.rows if len(set(row)) > 1]
    seeds = range(min(N_SEEDS, n_seeds))
    if any(seed not in values[c] for row in rows for c in row for seed in seeds):
        return frozenset()
    means = [[_find_mean([values[c][s] for s in seeds], direction) for c in row] for row in rows]
    losses = _find_losses(means)
    best = [
        row[min(range(len(row)), key=nearby.__getitem__)]
        for row, nearby in zip(rows, _count_neighbours(losses), strict=True)
    ]
    return frozenset(c for row, chosen in zip(rows, best, strict=True) for c in row if c != chosen)


def _find_mean(values: Sequence[float | None], direction: Direction) -> float:
    """Return the mean, the higher the better; of what diverged, the lowest there is."""
    finite = [value for value in values if is_finite(value)]
    return sign_of(direction) * fmean(finite) if len(finite) == len(values) else -math.inf


def _find_losses(means: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return what each kind loses to the best of its row, from 0 to 1, half for a usual loss.

    Bounded, so that a learning rate that ruins training at one λ says as much of its neighbours as
    one that is clearly worse.
    """
    behind = [[max(row) - mean if mean < max(row) else 0.0 for mean in row] for row in means]
    usual = median([x for row in behind for x in row if 0 < x < math.inf] or [1.0])
    return [[1.0 if x == math.inf else x / (x + usual) for x in row] for row in behind]


def _count_neighbours(losses: Sequence[Sequence[float]]) -> list[list[float]]:
    """Add to each row half of the rows next to it."""
    end: list[Sequence[float]] = [[0.0] * len(row) for row in losses[:1]]
    padded = [*end, *losses, *end]
    return [
        [below / 2 + own + above / 2 for below, own, above in zip(*padded[n : n + 3], strict=True)]
        for n in range(len(losses))
    ]
