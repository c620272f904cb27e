"""What a problem's training is, in words: the facts that an export must carry."""

from collections.abc import Callable, Mapping
from typing import Any

from objectives.facts import ALL_DECAY, MATRICES_DECAY, Recipe
from objectives.penalties import find_terms
from objectives.problem import Problem

_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}


def tell_recipe(
    problem: Problem, space: Mapping[str, Any], name: str, model: str, loss: str | None = None
) -> Recipe:
    """Return what strengths mean for a problem; ``model`` is its model in words, ``loss`` its
    default one.
    """
    momentum = problem.fixed.get("momentum", problem.momentum)
    return Recipe(
        name=name,
        model=model,
        optimizer=_OPTIMIZERS[problem.optimizer],
        momentum=momentum if problem.optimizer == "sgd" else 0.0,
        decay=problem.acting_decay,
        decay_formula=_formula(problem),
        decayed_parameters=_tell_decays(problem),
        loss=loss or _tell_loss(problem),
        penalties=_tell_penalties(problem, space),
        details=_tell_details(problem, space),
    )


def _formula(problem: Problem) -> str:
    match problem.acting_decay:
        case "coupled" if problem.optimizer == "sgd":
            return Recipe.decay_formula
        case "coupled":
            return "gradient + weight_decay * w, before Adam divides by its moments"
        case "decoupled":
            return "w * (1 - lr * weight_decay) before each step"
        case "cautious":
            return "w * (1 - lr * weight_decay) where the step makes w smaller, before each step"
        case "corrected":
            return "w * (1 - lr * weight_decay * lr / highest lr) before each step"


def _tell_penalties(problem: Problem, space: Mapping[str, Any]) -> str | None:
    """Return what is added to the loss, and how it acts; None if nothing is."""
    fixed, told = problem.fixed, []
    for each in find_terms({**fixed, **space}):
        weights = [f"{name} = {fixed[name]!r}" for name in each.weights if name in fixed]
        steps = " by proximal steps" if problem.proximal and each.proximal is not None else ""
        told.append(f"{each.formula}{steps}{''.join(f', {weight}' for weight in weights)}")
    if "label_smoothing" in {**fixed, **space}:
        weight = f" = {fixed['label_smoothing']!r}" if "label_smoothing" in fixed else ""
        told.append(f"label_smoothing{weight}")
    return "; ".join(told) or None


def _tell_decays(problem: Problem) -> str:
    if callable(problem.decays):
        return f"those that {getattr(problem.decays, '__name__', 'a function')} chooses"
    if problem.decays == "all":
        return ALL_DECAY
    return MATRICES_DECAY


def _tell_loss(problem: Problem) -> str:
    own: Callable[..., Any] | None = problem.step or problem.loss
    if own is None:
        return "cross-entropy, or mean squared error for targets that are no classes"
    return getattr(own, "__name__", type(own).__name__)


def _tell_details(problem: Problem, space: Mapping[str, Any]) -> str | None:
    """Return what else of training differs from plain steps; None if nothing does."""
    given = {
        "nesterov": problem.nesterov or None,
        "betas": None if problem.betas == Problem.betas else problem.betas,
        "schedule": None if problem.schedule == "constant" else problem.schedule,
        "clip_norm": problem.clip_norm,
        "patience": problem.patience,
        "folds": problem.folds,
    }
    terms = {name for each in find_terms({**problem.fixed, **space}) for name in each.weights}
    others = {
        n: v for n, v in problem.fixed.items() if n not in {*terms, "label_smoothing", "momentum"}
    }
    told = {**{name: value for name, value in given.items() if value is not None}, **others}
    return ", ".join(f"{name}={value}" for name, value in told.items()) or None
