"""What training takes of a trial, by name, and which values each may have.

All other names are arguments of the model.
"""

import math
from typing import Any

from objectives.penalties import PENALTIES

_BELOW_ONE = math.nextafter(1.0, 0.0)

# By name, the least and the most.
BOUNDS: dict[str, tuple[float, float]] = {
    "weight_decay": (0.0, math.inf),
    "lr": (0.0, math.inf),
    **{each.factor: (0.0, math.inf) for each in PENALTIES},
    "l1_ratio": (0.0, 1.0),
    "label_smoothing": (0.0, 1.0),
    "momentum": (0.0, _BELOW_ONE),
    "beta1": (0.0, _BELOW_ONE),
    "beta2": (0.0, _BELOW_ONE),
    "batch_size": (1, math.inf),
}
TRAINING_NAMES = tuple(BOUNDS)
# Those whose ranges are on a log scale unless they say otherwise.
BY_MAGNITUDE = tuple(name for name, bounds in BOUNDS.items() if bounds == (0.0, math.inf))
# Strengths of which none at all can be trained, as a control.
WITH_ZERO = ("weight_decay", *(each.factor for each in PENALTIES), "label_smoothing", "dropout")


def takes(name: str, value: Any) -> bool:
    """Tell whether a name that training knows, or another one, may have a value."""
    if name not in BOUNDS:
        return True
    kinds = int if name == "batch_size" else int | float
    low, high = BOUNDS[name]
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    return is_number and low <= value <= high and value != math.inf


def tell_bounds(name: str) -> str:
    """Return which values a name may have, in words."""
    match BOUNDS[name]:
        case (1, _):
            return "whole numbers from 1"
        case (low, high) if high == math.inf:
            return f"{low:g} or more"
        case (low, high) if high == _BELOW_ONE:
            return f"{low:g} or more, and less than 1"
        case (low, high):
            return f"{low:g} to {high:g}"
