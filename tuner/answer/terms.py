"""What an answer adds to the loss besides weight decay, as numbers: for lines of frameworks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.answer.document import Document

# A term's formula as ``meaning.penalties`` has it, by what it begins with.
_KNOWN = ("l1", "l2_penalty", "alpha")


@dataclass(frozen=True)
class Terms:
    """``l1 Σ |w| + l2 Σ w²`` over what decays; proximal: by a step on it after each of the rest.

    ``l2_apart`` is a part of Σ w² that stays in the loss where the others are proximal.
    """

    l1: float = 0.0
    l2: float = 0.0
    l2_apart: float = 0.0
    is_proximal: bool = False

    @property
    def are_any(self) -> bool:
        """Tell whether anything is added."""
        return bool(self.l1 or self.l2 or self.l2_apart)


def find_terms(document: Document) -> Terms | None:
    """Return an answer's terms; None if it has others, as label smoothing, that no term is."""
    told: str | None = document["meaning"].get("penalties")
    if told is None:
        return Terms()
    parts = told.split("; ")
    if any(not part.startswith(tuple(f"{name} *" for name in _KNOWN)) for part in parts):
        return None
    weights = _find_weights(told, document["params"])
    alpha, ratio = weights.get("alpha", 0.0), weights.get("l1_ratio", 0.5)
    apart = weights.get("l2_penalty", 0.0)
    l1, l2 = weights.get("l1", 0.0) + alpha * ratio, alpha * (1 - ratio) / 2
    is_proximal = " by proximal steps" in told
    return Terms(l1, l2, apart, is_proximal) if is_proximal else Terms(l1, l2 + apart)


def _find_weights(told: str, params: Mapping[str, Any]) -> dict[str, float]:
    """Return the weights of terms: those that a trial has chosen, and those that all have."""
    fixed = {name: float(value) for name, value in re.findall(r"(\w+) = ([-+.\w]+)", told)}
    names = (*_KNOWN, "l1_ratio")
    return {**fixed, **{name: float(params[name]) for name in names if name in params}}


def write_torch_terms(terms: Terms) -> list[str]:
    """Return lines that add them to a loss, or step on them, for torch; ``decayed`` is there."""
    in_loss = Terms(0.0, terms.l2_apart) if terms.is_proximal else terms
    sums = [
        *([f"{in_loss.l1!r} * sum(p.abs().sum() for p in decayed)"] if in_loss.l1 else []),
        *([f"{in_loss.l2!r} * sum(p.square().sum() for p in decayed)"] if in_loss.l2 else []),
    ]
    lines = []
    if sums:
        lines += ["", "", "def penalty():  # to be added to the mean loss of each batch"]
        lines += [f"    return {' + '.join(sums)}"]
    if terms.is_proximal:
        lines += [
            *("", "", "@torch.no_grad()", "def shrink():  # to be called after each step"),
            '    lr = optimizer.param_groups[0]["lr"]',
            "    for p in decayed:",
            f"        p.copy_(p.sign() * (p.abs() - lr * {terms.l1!r}).clamp(min=0))",
        ]
        if terms.l2:
            lines.append(f"        p.div_(1 + lr * {2 * terms.l2!r})")
    return lines
