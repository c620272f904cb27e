"""λ's clock: in which time weight decay forgets, and how that compares with the training."""

import math

from objectives import Facts
from tuner.answer.best import Clock
from tuner.answer.details import find_details

# What a schedule multiplies the learning rate by on average, over many steps: all of a training
# forgets ``exp(-sum lr_t λ)``, so only their mean counts (see ``objectives.optimizers``).
MEAN_FACTORS = {
    "constant": 1.0,
    "cosine": 1 / 2,
    "onecycle": 0.3 * (1 + 1 / 25) / 2 + 0.7 * (1 + 1 / 25e4) / 2,
}


def find_clock(
    facts: Facts, weight_decay: float | None, lr: float | None, batch_size: int, epochs: int
) -> Clock | None:
    """Return the clock of a configuration; None without λ, or where its step is not known.

    A step of SGD leaves ``1 - lr weight_decay`` of a weight, with momentum m in the long run
    ``1 - lr weight_decay / (1 - m)``; decoupled decay ``1 - lr weight_decay``. So tau, after which
    1/e is left, is ``batch / (lr weight_decay n)`` epochs (Wang and Aitchison 2024,
    arXiv:2405.13698), and weight decay is the prior of variance ``1 / (weight_decay n)``. Under a
    schedule it is the tau of the mean learning rate: on the way the clock goes faster and slower.
    """
    recipe, data = facts.recipe, facts.data
    if recipe is None or data is None or not weight_decay or not lr:
        return None
    is_coupled = recipe.decay == "coupled"
    if recipe.decay not in ("coupled", "decoupled") or (is_coupled and recipe.optimizer != "SGD"):
        return None
    factor = MEAN_FACTORS.get(find_details(recipe.details, {}).schedule)
    if factor is None:
        return None
    pace = factor * (lr / (1 - recipe.momentum) if is_coupled else lr)
    tau = batch_size / (pace * weight_decay * data.n_train)
    return Clock(
        tau_epochs=tau,
        tau_trainings=tau / epochs,
        initial_share=math.exp(-epochs / tau),
        prior_width=1 / math.sqrt(weight_decay * data.n_train),
        scale_invariant=facts.scale_invariant,
        mean_factor=factor,
    )


def tell_clock(clock: Clock) -> str:
    """Return the clock in a sentence."""
    told = (
        f"forgets in {clock.tau_epochs:.3g} epochs, {clock.tau_trainings:.2g} trainings"
        f"{tell_mean(clock)}; "
        f"{clock.initial_share:.1%} of the initial weights are kept; "
        f"prior width {clock.prior_width:.2g}"
    )
    if clock.ridge_slope is not None and clock.ridge_interval is not None:
        low, high = clock.ridge_interval
        told += f"; ridge slope {clock.ridge_slope:.2f} ({low:.2f} to {high:.2f})"
    if clock.scale_invariant:
        told += f"; of {clock.scale_invariant:.0%} of the decaying weights the scale does not show"
    return told


def tell_mean(clock: Clock) -> str:
    """Return at which learning rate a clock goes, if not at the one that was chosen."""
    return (
        "" if clock.mean_factor == 1 else f" (at the schedule's mean, {clock.mean_factor:.3g} lr)"
    )
