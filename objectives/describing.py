"""What a problem says of itself, found by trying it: before its study is stored, or by `check`."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from objectives.base import TrainingConfig
from objectives.coefficients import WITH_ZERO
from objectives.data import BatchPart, Part, TensorPart, leaves
from objectives.errors import ObjectiveError, ProblemError
from objectives.facts import DataFacts, Facts, LastBatch, MetricFacts, Params
from objectives.functions import digest_code
from objectives.gradients import OneByOne, trained
from objectives.group import Group, Lane, find_decays
from objectives.judged import predict, split_batch
from objectives.parts import Parts, check_apart
from objectives.penalties import find_terms
from objectives.problem import Problem
from objectives.ready import Ready, find_metric, make_ready
from objectives.scales import find_scale_invariant, find_share
from objectives.settings import apply_settings
from objectives.shorthand import ends, find_arguments, find_space, middle, model_params
from objectives.telling import tell_recipe

_LONGEST_MODEL = 200


@dataclass(frozen=True)
class Tried:
    """A problem that was tried: what it says of itself, and what it was tried with."""

    description: "Description"
    ready: Ready
    params: Params
    scale_invariant: tuple[str, ...]  # empty, too, if that would take too long to tell


@dataclass(frozen=True)
class Description:
    """A problem's facts, how long and in which batches it trains, and when it may end early."""

    facts: Facts
    epochs: int
    batch_size: int
    last_batch: LastBatch
    patience: int | None


def describe(
    problem: Problem, module: str | None, given: Mapping[str, Any], *, seed: int
) -> Description:
    """Return what ``try_out`` finds a problem to be."""
    return try_out(problem, module, given, seed=seed).description


def try_out(problem: Problem, module: str | None, given: Mapping[str, Any], *, seed: int) -> Tried:
    """Try a problem on the CPU and describe it; what is ``given`` (epochs, batch_size, last_batch,
    and what ``apply_settings`` takes) has precedence over what it says itself.

    ``module`` is its source. Raises ProblemError for whatever does not fit together, DataError.
    """
    problem = apply_settings(problem, given)
    space = find_space(problem, find_arguments(problem.model))
    epochs = given.get("epochs") or problem.epochs
    batch_size = given.get("batch_size") or problem.batch_size
    config = TrainingConfig(
        *("", "", seed, batch_size, epochs), last_batch=given.get("last_batch"), device="cpu"
    )
    params = {**problem.fixed, **middle(space)}
    with _explaining(f"model{_show(model_params(params))}"):
        model = _build(problem, params)
    with _explaining("reading the data"):
        ready, *others = make_ready(problem, config)
        _check_batches(ready, given, space)
        for each in (ready, *others):
            _check_parts(each, space)
    with _explaining("a batch"):
        lane = ready.build(params, seed=0)
        _check_loss(ready, lane)
        _check_penalties(ready, lane)
    with _explaining("metric"):
        ready = replace(ready, metric=find_metric(ready, lane))
    _check_metric(ready, lane)
    names = find_scale_invariant(ready, lane)
    facts = Facts(
        metric=_describe_metric(ready),
        space=space,
        strength=problem.strength,
        companion=None if problem.companion in problem.fixed else problem.companion,
        with_zero=problem.strength in WITH_ZERO,
        can_train_again=True,
        recipe=tell_recipe(problem, space, "problem", _tell_model(model)),
        data=describe_data(ready.parts),
        scale_invariant=None if names is None else find_share(ready, lane, names),
        code=None if module is None else digest_code(module),
    )
    size, fate = ready.problem.batch_size, ready.last_batch
    description = Description(facts, epochs, size, fate, problem.patience)
    return Tried(description, ready, params, names or ())


def describe_data(parts: Parts) -> DataFacts:
    """Return the sizes of a problem's parts, and a digest of what is in them."""
    given = (parts.train, parts.validation, parts.test)
    digests = "".join("" if part is None else part.digest() for part in given)
    n_train, n_validation, n_test = map(_count, given)
    sha256 = hashlib.sha256(digests.encode()).hexdigest()
    return DataFacts(n_train, n_validation, n_test, sha256)


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    """Turn what somebody's code raises into one line."""
    try:
        yield
    except ObjectiveError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:300]
        raise ProblemError(f"{what} raised {type(error).__name__}: {reason}") from error


def _show(arguments: Mapping[str, Any]) -> str:
    return f"({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


def _build(problem: Problem, params: Params) -> nn.Module:
    if isinstance(problem.model, nn.Module):
        raise ProblemError(
            "model is a module: give what makes one, say `lambda: ...`, as each trial begins with "
            "new weights"
        )
    model, other = (problem.model(**model_params(params)) for _ in range(2))
    if not isinstance(model, nn.Module):
        raise ProblemError(f"model returned {type(model).__name__}, not a torch.nn.Module")
    if model is other:
        raise ProblemError("model returned the same module twice: make a new one in each call")
    if any(isinstance(each, UninitializedParameter) for each in model.parameters()):
        raise ProblemError(
            "model has lazy modules: give their sizes, or they begin without weights"
        )
    kinds = {parameter.dtype for parameter in trained(model).values()}
    if len(kinds) != 1:
        what = "trains no parameter" if not kinds else f"has parameters of {len(kinds)} types"
        raise ProblemError(f"model {what}: there is nothing to train alike")
    return model


def _count(part: Part | None) -> int:
    """Return how many examples a part has."""
    if isinstance(part, BatchPart):
        return part.n_examples
    return 0 if part is None else part.n


def _check_batches(ready: Ready, given: Mapping[str, Any], space: Mapping[str, Any]) -> None:
    """Refuse to say how batches are made that come ready-made."""
    own = {**given, "last_batch": given.get("last_batch") or ready.problem.last_batch, **space}
    for name in ("batch_size", "last_batch"):
        if isinstance(ready.parts.train, BatchPart) and own.get(name):
            raise ProblemError(f"{name}: train gives batches of its own: leave it out")


def _check_parts(ready: Ready, space: Mapping[str, Any]) -> None:
    check_apart(ready.parts)
    train, sizes = ready.parts.train, [ready.problem.batch_size]
    if "batch_size" in space:
        sizes = ends(space["batch_size"])
    size = max(sizes)
    if not isinstance(train, BatchPart) and size > train.n:
        raise ProblemError(
            f"batch_size={size}: train has {train.n} examples; give at most that many"
        )


def _check_loss(ready: Ready, lane: Lane) -> None:
    batch, _ = next(ready.training_batches(0))
    _check_labels(ready, lane, batch)
    lane.model.train()
    with _explaining(f"the loss of a batch{_tell_types(lane, batch)}"):
        loss: Any = lane.model(batch, 0.0)
    if not isinstance(loss, torch.Tensor) or loss.dim() > 0:
        form = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise ProblemError(f"the loss is no scalar but {form}: return its mean over the batch")
    if not loss.requires_grad:
        raise ProblemError(
            "the loss does not depend on the model's parameters: nothing can be learnt"
        )
    if not math.isfinite(value := float(loss.detach())):
        raise ProblemError(f"the loss of a new model is {value}: look at data and loss")


def _tell_types(lane: Lane, batch: Any) -> str:
    """Say of which types data and model are, where they differ."""
    (model,) = {parameter.dtype for parameter in trained(lane.model).values()}
    odd = (t for t in leaves(batch) if t.is_floating_point() or t.dtype == torch.uint8)
    data = {tensor.dtype for tensor in odd} - {model}
    if not data:
        return ""
    *others, own = (str(each).removeprefix("torch.") for each in (*data, model))
    return f" ({' and '.join(others)} data, a {own} model: `prepare` can convert it)"


def _check_penalties(ready: Ready, lane: Lane) -> None:
    """Refuse what would be without effect: smoothing of no classes, penalties on no parameter."""
    problem = ready.problem
    if "label_smoothing" in lane.params:
        is_own = problem.step is not None or problem.loss is not None
        *_, target = leaves(next(ready.training_batches(0))[0])
        if is_own or target.is_floating_point():
            what = "of its own" if is_own else "for targets that are no classes"
            raise ProblemError(
                f"label_smoothing: the problem has a loss {what}, which does not take it: leave it "
                "out"
            )
    factors = [*(each.factor for each in find_terms(lane.params)), "weight_decay"]
    acting = [name for name in factors if name in lane.params]
    if acting and not find_decays(problem, lane.model).any():
        raise ProblemError(
            f"{acting[0]}: decays={problem.decays!r} leaves it no parameter of this model: choose "
            "decays='all'"
        )


def _check_labels(ready: Ready, lane: Lane, batch: Any) -> None:
    """Refuse labels that the model has no output for, which torch tells in a way of its own."""
    if ready.problem.loss is not None or ready.problem.step is not None:
        return
    inputs, target = split_batch(batch)
    if not isinstance(target, torch.Tensor) or target.is_floating_point():
        return
    with _explaining(f"the model{_tell_types(lane, batch)}"), torch.no_grad():
        output = predict(lane.model.eval().model, inputs)
    if not isinstance(output, torch.Tensor) or output.dim() < 2:
        form = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ProblemError(
            f"the model's output is {form}, and its targets are integers: return (batch, classes), "
            "or give a loss of your own"
        )
    if target.dim() == output.dim() and target.shape[1] == 1:
        raise ProblemError(
            f"the targets are integers of shape {tuple(target.shape)}: give one for each example, "
            "(n,), or a loss of your own"
        )
    for name in ("train", "validation", "test"):
        part = getattr(ready.parts, name)
        if isinstance(part, TensorPart):
            *_, labels = leaves(part.tree)
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= output.shape[1]:
                raise ProblemError(
                    f"{name}: its labels are {low} to {high}, and the model has {output.shape[1]} "
                    f"outputs, for 0 to {output.shape[1] - 1}"
                )


def _check_metric(ready: Ready, lane: Lane) -> None:
    name = "the loss" if ready.metric is None else f"metric {ready.metric.name}"
    group = Group(OneByOne, ready.problem, [lane], ready.n_steps)
    with _explaining(f"{name} over the validation part"):
        (value,) = group.values(ready.metric, ready.scoring_batches(ready.parts.validation))
    if not math.isfinite(value):
        raise ProblemError(f"{name} of a new model over the validation part is {value}")


def _describe_metric(ready: Ready) -> MetricFacts:
    if ready.metric is None:
        return MetricFacts("validation loss", "minimize")
    metric = ready.metric
    return MetricFacts(f"validation {metric.name}", metric.direction, metric.is_proportion)


def _tell_model(model: nn.Module) -> str:
    text = re.sub(r"\(\s+", "(", re.sub(r"\s+\)", ")", " ".join(str(model).split())))
    return text if len(text) <= _LONGEST_MODEL else f"{text[: _LONGEST_MODEL - 3]}..."
