"""What an answer's training had besides plain steps, as values: ``meaning.details`` read back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Details:
    """Schedule, clipping, an optimizer's coefficients; ``fixed`` are those of all trials."""

    schedule: str = "constant"
    clip_norm: float | None = None
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    fixed: Mapping[str, float] = field(default_factory=dict)
    has_own_batches: bool = False  # of a size that all trials have in place of the study's

    @property
    def are_plain(self) -> bool:
        """Tell whether steps are those of the optimizer's defaults, at one learning rate."""
        return self == Details(fixed=self.fixed)


def find_details(told: str | None, params: Mapping[str, Any]) -> Details:
    """Read details, with what a trial has chosen of them.

    Folds, patience and the model's arguments change no step, and are left out.
    """
    values = dict(re.findall(r"(\w+)=(\([^)]*\)|[^,]*)", told or ""))
    first, second = re.findall(r"[-+.\w]+", values.get("betas", "")) or Details.betas
    chosen = {**values, **params}
    return Details(
        schedule=values.get("schedule", Details.schedule),
        clip_norm=float(values["clip_norm"]) if "clip_norm" in values else None,
        nesterov="nesterov" in values,
        betas=(float(chosen.get("beta1", first)), float(chosen.get("beta2", second))),
        fixed={name: float(values[name]) for name in ("lr", "weight_decay") if name in values},
        has_own_batches="batch_size" in values,
    )
