"""Who is out of the race for λ, so that no more seeds are spent on it."""

from collections.abc import Mapping
from statistics import fmean, median

from tuner.confirmation.statistics import (
    Scale,
    Values,
    find_t_quantile,
    is_finite,
    sign_of,
    summarise,
)
from tuner.confirmation.values import Candidate

# No candidate is dropped for fewer seeds.
MIN_N_SEEDS = 3

# Error of the interval that decides, at its lower end.
_LEVEL = 0.025


def find_hopeless(values: Mapping[Candidate, Values], scale: Scale) -> frozenset[Candidate]:
    """Return which candidates, of those still in the race, no further seed is worth.

    Those that diverged; and ladder rungs with at least three seeds whose paired difference to the
    leader is so large that the lower end of its 95 % t-interval lies above the standard
    error that λ_1se allows: not even that would take them. The interval is at least as wide as the
    median one, since three differences may be alike by chance. λ = 0 and the search's choice stay:
    verdict and optimism would be biased if bad seeds decided how many seeds they get.
    """
    sign = sign_of(scale.direction)
    signed = {
        candidate: {seed: sign * value for seed, value in by_seed.items() if value is not None}
        for candidate, by_seed in values.items()
        if all(map(is_finite, by_seed.values()))
    }
    diverged = frozenset(values) - frozenset(signed)
    ready = {c: by_seed for c, by_seed in signed.items() if len(by_seed) >= MIN_N_SEEDS}
    common = set.intersection(*map(set, ready.values())) if ready else set()
    if len(common) < MIN_N_SEEDS or len(ready) < 2:
        return diverged
    leader = max(ready, key=lambda c: (fmean(ready[c][s] for s in common), c.weight_decay))
    losses = {}
    for c in ready.keys() - {leader}:
        loss, error = summarise([ready[leader][seed] - ready[c][seed] for seed in common])
        losses[c] = loss or 0.0, error or 0.0
    typical = median(error for _, error in losses.values())
    quantile = find_t_quantile(1 - _LEVEL, len(common) - 1)
    return diverged | {
        c
        for c, (loss, error) in losses.items()
        if c.source == "ladder"
        and loss - quantile * max(error, typical) > scale.add_sampling_error(typical, loss)
    }
