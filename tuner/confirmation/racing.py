"""Who is out of the race for λ, so that no more seeds are spent on it."""

from collections.abc import Mapping
from statistics import fmean, median

from tuner.confirmation.statistics import Values, find_t_quantile, is_finite, sign_of, summarise
from tuner.confirmation.values import Candidate
from tuner.spec import Direction

# No candidate is dropped for fewer seeds.
MIN_N_SEEDS = 3

# One-sided error of the interval that decides.
_LEVEL = 0.05


def find_hopeless(values: Mapping[Candidate, Values], direction: Direction) -> frozenset[Candidate]:
    """Return which candidates, of those still in the race, no further seed is worth.

    Those that diverged; and ladder rungs with at least three seeds whose paired difference to the
    leader is so large that the lower end of its one-sided 95 % t-interval lies above one standard
    error of the leader: not even λ_1se would take them. The interval is at least as wide as the
    median one, since three differences may be alike by chance. λ = 0 and the search's choice stay:
    verdict and optimism would be biased if bad seeds decided how many seeds they get.
    """
    sign = sign_of(direction)
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
    losses = {
        c: summarise([ready[leader][seed] - ready[c][seed] for seed in sorted(common)])
        for c in ready
        if c != leader
    }
    _, leader_error = summarise([ready[leader][seed] for seed in sorted(common)])
    typical = median(error or 0.0 for _, error in losses.values())
    quantile = find_t_quantile(1 - _LEVEL, len(common) - 1)
    return diverged | {
        c
        for c, (loss, error) in losses.items()
        if c.source == "ladder"
        and (loss or 0.0) - quantile * max(error or 0.0, typical) > (leader_error or 0.0)
    }
