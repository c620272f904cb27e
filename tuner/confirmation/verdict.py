"""Whether λ matters: does it beat λ = 0 on fresh seeds, and does it lie within the range?

Why the question is this one, and how often the answer is right, is told in ``docs/the-answer.md``.
"""

import math
from dataclasses import dataclass

from tuner.confirmation.box import Axis, Box, find_end
from tuner.confirmation.statistics import find_t_quantile
from tuner.confirmation.values import Verdict

# One-sided, of a single paired comparison. That every λ is too large would send people to search
# elsewhere: it takes more.
_GAIN_LEVEL = 0.05
_LOSS_LEVEL = 0.001

# How much wider a range should be, at an end where the optimum lies.
_WIDENING = 10


@dataclass(frozen=True)
class Gain:
    """What a strength gains over the control, paired over seeds: the mean and its standard error.

    ``n_failed`` and ``n_control_failed`` are the seeds on which only one of them gave a value.
    """

    strength: float
    control: float
    mean: float
    error: float
    n_seeds: int
    n_failed: int = 0
    n_control_failed: int = 0

    @property
    def t(self) -> float:
        """The gain in standard errors."""
        if self.error == 0:
            return 0.0 if self.mean == 0 else math.copysign(math.inf, self.mean)
        return self.mean / self.error

    @property
    def is_proved(self) -> bool:
        """Tell whether the gain is more than chance; the control's failures are."""
        if self.n_failed or self.strength == self.control:
            return False
        return self.n_control_failed > 1 or self._exceeds(self.t, _GAIN_LEVEL)

    @property
    def is_loss_proved(self) -> bool:
        """Tell whether the strength is worse than the control, by more than chance."""
        if self.n_control_failed or self.strength == self.control:
            return False
        return self.n_failed > 1 or self._exceeds(-self.t, _LOSS_LEVEL)

    def _exceeds(self, t: float, level: float) -> bool:
        return self.n_seeds > 1 and t > find_t_quantile(1 - level, self.n_seeds - 1)

    def __str__(self) -> str:
        """Say how much, e.g. ``gains 0.0041 ± 0.0007``."""
        mean = round(self.mean, 12)  # 0 but for rounding is 0
        verb = "differs by" if mean == 0 else "gains" if mean > 0 else "loses"
        return f"{verb} {abs(mean):.2g} ± {self.error:.2g}"


def decide(gain: Gain, box: Box, *, exported: float) -> Verdict:
    """Return whether λ matters, by what the best strength gains over the control.

    ``exported`` is the strength that is handed out.
    """
    axis = box.strength
    if gain.strength == gain.control:
        return Verdict(kind="does not matter", text="A single λ was searched: nothing to compare")
    if gain.is_proved:
        return _tell_that_it_matters(gain, axis)
    if gain.is_loss_proved and find_end(axis, gain.strength) == "low":
        text = f"Every λ searched is too large: {_show(gain.strength)} {gain} beside "
        low = (axis.low / _WIDENING**2, axis.low) if axis.low > 0 else None
        return _tell_edge(text + _show(gain.control), low)
    chance = "which is no more than chance" if not gain.is_loss_proved else "and nothing is better"
    return Verdict(
        kind="does not matter",
        text=f"λ does not matter here: {_show(gain.strength)} {gain} beside "
        f"{_show(gain.control)}, {chance}; {_tell_exported(exported)}",
        suggested_range=_widen(axis, "high") if find_end(axis, exported) == "high" else None,
    )


def _tell_exported(exported: float) -> str:
    if exported == 0:
        return "the λ exported is 0, none at all"
    return f"the λ exported is {exported:.3g}, which costs nothing that shows, and may be left out"


def _tell_that_it_matters(gain: Gain, axis: Axis) -> Verdict:
    text = f"λ matters: {_show(gain.strength)} {gain} beside {_show(gain.control)}"
    if gain.n_control_failed:
        text += f", which fails on {gain.n_control_failed} seeds"
    end = find_end(axis, gain.strength)
    wider = _widen(axis, end) if end else None
    if wider is None:
        return Verdict(kind="matters", text=text)
    side = "upper" if end == "high" else "lower"
    return _tell_edge(f"{text}; the optimum is at the {side} end", wider)


def _widen(axis: Axis, end: str) -> tuple[float, float] | None:
    """Return a wider range; None where there is none to be had."""
    if axis.scale == "choices":
        return None
    if end == "high":
        return axis.low, axis.high * _WIDENING
    return (axis.low / _WIDENING, axis.high) if axis.low > 0 else None


def _tell_edge(text: str, wider: tuple[float, float] | None) -> Verdict:
    if wider is not None:
        text = f"{text}: search [{wider[0]:.3g}, {wider[1]:.3g}]"
    return Verdict(kind="edge", text=text, suggested_range=wider)


def _show(strength: float) -> str:
    return f"λ = {strength:.3g}"
