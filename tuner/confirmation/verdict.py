"""Whether λ matters: does some λ beat λ = 0, and does the optimum lie within the range?

Why the question is this one, and how often the answer is right, is told in ``docs/the-answer.md``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from tuner.confirmation.statistics import Scale, find_t_quantile, sign_of, summarise
from tuner.confirmation.values import Rung, Verdict
from tuner.spec import Direction

# One-sided, of a single rung's difference to the control. That every λ is too large would send
# people to search elsewhere: it takes more.
_GAIN_LEVEL = 0.05
_LOSS_LEVEL = 0.01

# How much wider a range should be, at an end where the optimum lies.
_WIDENING = 10


@dataclass(frozen=True)
class Gain:
    """What a rung gains over the control, paired over seeds: the mean and its standard error."""

    rung: Rung
    control: Rung
    mean: float
    error: float
    n_seeds: int

    @property
    def t(self) -> float:
        """The gain in standard errors."""
        if self.error == 0:
            return 0.0 if self.mean == 0 else math.copysign(math.inf, self.mean)
        return self.mean / self.error

    @property
    def is_proved(self) -> bool:
        """Tell whether the gain is more than chance."""
        return self.t > find_t_quantile(1 - _GAIN_LEVEL, self.n_seeds - 1)

    @property
    def is_loss_proved(self) -> bool:
        """Tell whether the rung is worse than the control, by more than chance."""
        return self.t < -find_t_quantile(1 - _LOSS_LEVEL, self.n_seeds - 1)

    @property
    def verb(self) -> str:
        """What the rung does."""
        if round(self.mean, 12) == 0:
            return "differs by"
        return "gains" if self.mean > 0 else "loses"

    def __str__(self) -> str:
        return f"{round(abs(self.mean), 12):.2g} ± {self.error:.2g}"  # 0 but for rounding is 0


def find_gains(rungs: Sequence[Rung], control: Rung, scale: Scale) -> list[Gain]:
    """Return what each rung gains over the control, on the seeds, at least two, that both have.

    No error over seeds is taken to be less than the median one, as in racing: of ten errors known
    from five seeds each, the smallest are so by chance. What the sample of images adds is added.
    """
    sign, gains = sign_of(scale.direction), []
    for rung in rungs:
        seeds = sorted(set(rung.values) & set(control.values))
        differences = [sign * (rung.values[seed] - control.values[seed]) for seed in seeds]
        mean, error = summarise(differences)
        if mean is not None and error is not None:
            gains.append(Gain(rung, control, mean, error, len(seeds)))
    typical = median(gain.error for gain in gains) if gains else 0.0
    return [
        replace(gain, error=scale.add_sampling_error(max(gain.error, typical), gain.mean))
        for gain in gains
    ]


def find_control(rungs: Sequence[Rung]) -> Rung | None:
    """Return λ = 0, or where that was not trained or has diverged the lowest rung of the ladder."""
    zero = [r for r in rungs if r.candidate.source == "zero" and not r.is_dropped]
    ladder = [r for r in rungs if r.candidate.source == "ladder" and len(r.values) > 1]
    return next(iter([*zero, *ladder]), None)


def decide(
    rungs: Sequence[Rung],
    minimum: Rung,
    largest: Rung,
    scale: Scale,
    searched_range: tuple[float, float],
) -> Verdict:
    """Return whether λ matters; ``minimum`` and ``largest`` are the rungs of λ_min and λ_1se."""
    control = find_control(rungs)
    ladder = [r for r in rungs if r.candidate.source == "ladder" and r != control]
    alive = [r for r in ladder if not r.is_dropped] or ladder
    gains = find_gains(alive, control, scale) if control else []
    if control is None or not gains:
        return Verdict(kind="does not matter", text="Too few values to tell whether λ matters")
    proved = [gain for gain in gains if gain.is_proved]
    if proved:
        best = max(proved, key=lambda gain: gain.mean)
        return _tell_that_it_matters(best, minimum, searched_range)
    best = max(gains, key=lambda gain: gain.t)
    low, high = searched_range
    if best.is_loss_proved and _weight_decay(largest) == 0:
        text = f"Every λ searched is too large: λ = 0 beats the best of them by {best}"
        return _tell_edge(text, (low / _WIDENING**2, low))
    costs = _tell_costs(rungs, minimum, largest, scale.direction)
    return Verdict(
        kind="does not matter",
        text=f"λ does not matter here: none beats {_show(control)} by more than chance "
        f"({_show(best.rung)} {best.verb} {best}){costs}",
        suggested_range=(low, high * _WIDENING) if _weight_decay(largest) >= high else None,
    )


def _tell_that_it_matters(
    best: Gain, minimum: Rung, searched_range: tuple[float, float]
) -> Verdict:
    low, high = searched_range
    text = f"λ matters: {_show(best.rung)} beats {_show(best.control)} by {best}"
    if _weight_decay(minimum) >= high:
        return _tell_edge(f"{text}; the optimum is at the upper end", (low, high * _WIDENING))
    if _weight_decay(minimum) <= low:
        return _tell_edge(f"{text}; the optimum is at the lower end", (low / _WIDENING, high))
    return Verdict(kind="matters", text=text)


def _tell_edge(text: str, wider: tuple[float, float]) -> Verdict:
    text = f"{text}: search [{wider[0]:.3g}, {wider[1]:.3g}]"
    return Verdict(kind="edge", text=text, suggested_range=wider)


def _tell_costs(rungs: Sequence[Rung], minimum: Rung, largest: Rung, direction: Direction) -> str:
    """Say up to which λ nothing is lost, and what the largest costs over the seeds that it has."""
    top = max(rungs, key=_weight_decay)
    if _weight_decay(largest) >= _weight_decay(top):
        return ", and none costs anything; larger ones may matter"
    text = (
        f"; up to {_show(largest)} it costs no more than chance"
        if _weight_decay(largest) > 0
        else ""
    )
    seeds = sorted(set(top.values) & set(minimum.values))
    sign = sign_of(direction)
    cost, error = summarise([sign * (minimum.values[s] - top.values[s]) for s in seeds])
    if cost is None or error is None:
        return f"{text}; with {_show(top)} training diverges"
    return f"{text}; {_show(top)} costs {cost:.2g} ± {error:.2g}"


def _weight_decay(rung: Rung) -> float:
    return rung.candidate.weight_decay


def _show(rung: Rung) -> str:
    return f"λ = {_weight_decay(rung):.3g}"
