"""What keeps weights small: terms of the loss by name, and the ways in which weight decay acts.

A term acts on the parameters that decay (``Problem.decays``), unscaled by their number, on a loss
that is a mean over the batch. Adding one is a line in ``PENALTIES``, adding a way to decay a line
in ``DECAYS``. Calls no torch by itself, so that a name costs no import of it.

``rows`` are the parameters of models side by side, ``(K, n)``; weights and rates are each model's
own, ``(K, 1)``, a term's first weight 0 where a parameter does not decay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Decay = Literal["coupled", "decoupled", "cautious", "corrected"]


@dataclass(frozen=True)
class Penalty:
    """A term that is added to the loss.

    ``weights`` names what of a trial it takes: its factor, and with defaults what else shapes it.
    ``gradient(rows, *weights)`` is the term's, ``(K, n)``; where it has kinks, a subgradient.
    ``proximal(rows, rates, *weights)`` are the rows after a step of this length on the term alone,
    taken whole: what ends at a kink stays there (Parikh and Boyd 2014, section 1.1).
    """

    weights: Mapping[str, float]
    formula: str
    gradient: "Callable[..., Tensor]"
    proximal: "Callable[..., Tensor] | None" = None

    @property
    def factor(self) -> str:
        """The weight that multiplies all of it."""
        return next(iter(self.weights))


def _l2(rows: "Tensor", weight: "Tensor") -> "Tensor":
    """Return the gradient of ``l2_penalty Σ w²``: ``2 l2_penalty w``, as of twice the decay.

    With plain SGD it is coupled ``weight_decay = 2 l2_penalty`` to the last step (Loshchilov and
    Hutter, arXiv:1711.05101, proposition 1); with Adam it is not what AdamW does.
    """
    return 2 * weight * rows


def _l1(rows: "Tensor", weight: "Tensor") -> "Tensor":
    """Return a subgradient of ``l1 Σ |w|``: ``l1 sign(w)``, 0 at 0 (Tibshirani 1996).

    Its steps go past 0 and back, so weights become small, and hardly ever exactly 0.
    """
    return weight * rows.sign()


def _soften(rows: "Tensor", rates: "Tensor", weight: "Tensor") -> "Tensor":
    """Return ``sign(w) max(|w| - lr l1, 0)``: a step of ISTA on ``l1 Σ |w|``, with exact zeros.

    Daubechies, Defrise and De Mol 2004; Beck and Teboulle 2009, section 1. With adaptive optimizers
    the threshold is not divided by their moments, as decay is not by AdamW.
    """
    return rows.sign() * (rows.abs() - rates * weight).clamp(min=0)


def _elastic(rows: "Tensor", alpha: "Tensor", ratio: "Tensor") -> "Tensor":
    """Return a subgradient of the elastic net (Zou and Hastie 2005), as scikit-learn writes it.

    ``alpha l1_ratio Σ |w| + alpha (1 - l1_ratio) / 2 Σ w²``: ``sklearn.linear_model.ElasticNet``,
    whose loss is half the mean squared error.
    """
    return alpha * (ratio * rows.sign() + (1 - ratio) * rows)


def _soften_elastic(rows: "Tensor", rates: "Tensor", alpha: "Tensor", ratio: "Tensor") -> "Tensor":
    """Return a proximal step on the elastic net (Parikh and Boyd 2014, section 6.5.3)."""
    return _soften(rows, rates, alpha * ratio) / (1 + rates * alpha * (1 - ratio))


PENALTIES = (
    Penalty({"l2_penalty": 0.0}, "l2_penalty * ||w||^2", _l2),
    Penalty({"l1": 0.0}, "l1 * sum(|w|)", _l1, _soften),
    Penalty(
        {"alpha": 0.0, "l1_ratio": 0.5},
        "alpha * (l1_ratio * sum(|w|) + (1 - l1_ratio) / 2 * ||w||^2)",
        _elastic,
        _soften_elastic,
    ),
)

# By the way in which weight decay acts: the share of ``lr * weight_decay * w`` that a step takes
# from ``w`` beside the optimizer's own update, given rows, that update (what the rate multiplies
# and the rows lose) and the schedule's factor, 1 at its peak. None: it is added to the gradient,
# as the gradient of ``weight_decay / 2 * ||w||^2``, and goes through momentum and moments.
DECAYS: "dict[str, Callable[[Tensor, Tensor, Tensor], Any] | None]" = {
    "coupled": None,
    # Loshchilov and Hutter, arXiv:1711.05101: AdamW's, scaled by the learning rate as torch's.
    "decoupled": lambda _rows, _updates, _factors: 1,
    # Chen et al., arXiv:2510.12402: only where the update makes a weight smaller, too.
    "cautious": lambda rows, updates, _factors: rows * updates >= 0,
    # Defazio, arXiv:2506.02285: lambda_t = lambda lr_t / lr_max, so that the ratio of gradients to
    # weights stays where a layer is normalised; meant for such layers, so see ``Problem.decays``.
    "corrected": lambda _rows, _updates, factors: factors,
}


def find_terms(names: Mapping[str, Any], *, is_proximal: bool = False) -> list[Penalty]:
    """Return the terms whose factors are among these names; the proximal ones alone, if asked."""
    return [
        each
        for each in PENALTIES
        if each.factor in names and (each.proximal is not None or not is_proximal)
    ]


def explain_fault(names: Mapping[str, Any], *, is_proximal: bool) -> str | None:
    """Tell, in a line with the remedy, why these weights cannot go together; None if they can."""
    for each in PENALTIES:
        _, *shapes = each.weights
        for shape in shapes:
            if shape in names and each.factor not in names:
                return f"{shape} shapes {each.factor}, which there is not: add {each.factor}"
    if is_proximal and not find_terms(names, is_proximal=True):
        those = " or ".join(each.factor for each in PENALTIES if each.proximal is not None)
        return f"proximal=True: there is no L1 to take the step of: add {those}, or leave it out"
    return None
