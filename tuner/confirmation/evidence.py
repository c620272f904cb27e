"""What values over fresh seeds say: λ_min, λ_1se, optimism, and whether λ matters.

Pure arithmetic on plain values; who trains is ``confirm``, whom it drops ``racing``.
What the rules are and why is told to users in ``docs/the-answer.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tuner.confirmation.statistics import Scale, Values, is_finite, sign_of, summarise
from tuner.confirmation.values import Candidate, Confirmation, Rung
from tuner.confirmation.verdict import decide
from tuner.errors import NoResultError
from tuner.spec import Direction

# Means that differ by less, relative to the larger, differ by rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Evidence:
    """What was trained on fresh seeds, and the search it is about.

    ``values`` has every candidate; ``dropped`` are those that racing has found hopeless.
    """

    study: str
    scale: Scale
    seeds: tuple[int, ...]
    values: Mapping[Candidate, Values]
    dropped: frozenset[Candidate]
    searched_range: tuple[float, float]
    search_trial: int
    search_value: float


def judge(evidence: Evidence) -> Confirmation:
    """Return the answer; raises NoResultError if no candidate has a value for every seed."""
    rungs = _make_rungs(evidence)
    scale, direction = evidence.scale, evidence.scale.direction
    minimum, margin = find_lambda_min(rungs, direction), find_margin(rungs, scale)
    largest = find_lambda_1se(rungs, direction, margin)
    return Confirmation(
        study=evidence.study,
        direction=direction,
        seeds=evidence.seeds,
        rungs=rungs,
        lambda_min=minimum,
        lambda_1se=largest,
        margin=margin,
        search_trial=evidence.search_trial,
        search_value=evidence.search_value,
        optimism=_find_optimism(rungs, evidence),
        verdict=decide(rungs, rungs[minimum], rungs[largest], scale, evidence.searched_range),
    )


def _make_rungs(evidence: Evidence) -> tuple[Rung, ...]:
    """Return the candidates in their order, those without a value for every seed as dropped."""
    rungs = []
    for candidate, by_seed in evidence.values.items():
        values = {seed: value for seed, value in by_seed.items() if is_finite(value)}
        is_dropped = candidate in evidence.dropped or not set(evidence.seeds) <= set(values)
        mean, error = summarise(list(values.values()))
        rungs.append(
            Rung(
                candidate=candidate,
                values=values,
                mean=mean,
                standard_error=error,
                is_dropped=is_dropped,
            )
        )
    return tuple(sorted(rungs, key=lambda r: (r.candidate.weight_decay, r.candidate.lr)))


def find_lambda_min(rungs: Sequence[Rung], direction: Direction) -> int:
    """Return the position of the best mean, ties to the larger λ; raises NoResultError."""
    eligible = _eligible(rungs, direction)
    best = max(eligible.values())
    return max(position for position, mean in eligible.items() if mean >= best - _slack(best))


def find_lambda_1se(rungs: Sequence[Rung], direction: Direction, margin: float) -> int:
    """Return the position of the largest λ whose mean is behind the best by the margin at most.

    This is ``lambda.1se`` of ``cv.glmnet`` (Friedman, Hastie and Tibshirani 2010, J. Stat. Software
    33(1)) but for the error, which is `find_margin`'s. Of candidates of equal λ the better mean is
    taken.
    """
    eligible = _eligible(rungs, direction)
    best = max(eligible.values())
    limit = best - margin - _slack(best)
    within = [position for position, mean in eligible.items() if mean >= limit]
    return max(within, key=lambda p: (rungs[p].candidate.weight_decay, eligible[p], p))


def find_margin(rungs: Sequence[Rung], scale: Scale) -> float:
    """Return one standard error: the median one of the candidates' paired differences to the best.

    With what the sample of validation images adds. What a seed does to all candidates alike leaves
    no doubt about which is better; and of ten errors known from five seeds each, a single one is
    small or large by chance: see ``docs/the-answer.md``.
    """
    best = find_lambda_min(rungs, scale.direction)
    others = [position for position in _eligible(rungs, scale.direction) if position != best]
    return scale.find_margin(_find_usual_error(rungs, best, others))


def _find_usual_error(rungs: Sequence[Rung], best: int, others: Sequence[int]) -> float:
    """Return the median standard error of differences to the best; 0 if there is none."""
    values = rungs[best].values
    errors = [summarise([values[s] - rungs[p].values[s] for s in values])[1] for p in others]
    return median([error for error in errors if error is not None] or [0.0])


def _eligible(rungs: Sequence[Rung], direction: Direction) -> dict[int, float]:
    """Return means, the higher the better, by the position of those still in the choice."""
    sign = sign_of(direction)
    eligible = {
        position: sign * rung.mean
        for position, rung in enumerate(rungs)
        if rung.mean is not None and not rung.is_dropped
    }
    if not eligible:
        raise NoResultError("No candidate has a finite value for every fresh seed")
    return eligible


def _find_optimism(rungs: Sequence[Rung], evidence: Evidence) -> float | None:
    means = [r.mean for r in rungs if r.candidate.source == "search" and not r.is_dropped]
    if not means or means[0] is None:
        return None
    return sign_of(evidence.scale.direction) * (evidence.search_value - means[0])


def _slack(value: float) -> float:
    return _ROUNDING * abs(value)
