"""A problem with its data, ready to be trained: its batches, its new lanes, its metric."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from objectives.base import TrainingConfig
from objectives.data import BatchPart, Part, TensorPart, batch_length, map_tensors, seed_draws
from objectives.device import choose_device
from objectives.errors import ProblemError
from objectives.facts import LastBatch, Params, choose_last_batch
from objectives.group import Lane
from objectives.judged import Judged, predict, split_batch
from objectives.metrics import METRICS
from objectives.parts import Parts, read_parts
from objectives.problem import Metric, Problem
from objectives.seeds import derive_seed, permutation
from objectives.settings import apply_settings
from objectives.shorthand import model_params

# At least so many examples are scored at a time.
_SCORING_BATCH_SIZE = 512


@dataclass(frozen=True)
class Ready:
    """A problem with its data on a device; without a metric its value is the loss."""

    problem: Problem
    parts: Parts
    metric: Metric | None
    device: torch.device
    seed: int

    @property
    def n_steps(self) -> int:
        """How many steps an epoch has."""
        train, size = self.parts.train, self.problem.batch_size
        if isinstance(train, BatchPart):
            return train.n
        n_full, rest = divmod(train.n, size)
        return n_full + (1 if rest and self.last_batch != "drop" else 0)

    @property
    def last_batch(self) -> LastBatch:
        """What becomes of an epoch's smaller last batch; those that come ready-made are kept."""
        if isinstance(self.parts.train, BatchPart):
            return "keep"
        own = self.problem.last_batch
        return own or choose_last_batch(self.parts.train.n, self.problem.batch_size)

    def in_batches_of(self, size: int | None) -> "Ready":
        """Return the same in batches of this size; None: of the problem's."""
        if size is None:
            return self
        return replace(self, problem=replace(self.problem, batch_size=size))

    def build(self, params: Params, seed: int) -> Lane:
        """Return a new lane; the same seed gives the same weights. Raises what the model raises."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = self.problem.model(**model_params(params))
        params = {**self.problem.fixed, **params}
        return Lane(Judged(model.to(self.device), self.problem), params, seed)

    def order(self, number: int) -> NDArray[np.int64]:
        """Return the examples that a pass trains on, in its order."""
        order = permutation(self.parts.train.n, derive_seed(self.seed, "order", number))
        if self.last_batch == "drop":
            return order[: self.n_steps * self.problem.batch_size]
        return order

    def training_batches(self, number: int) -> Iterator[tuple[Any, float]]:
        """Yield the batches of a pass, and by which share their gradient counts."""
        size, scales = self.problem.batch_size, self.last_batch == "scale"
        for batch in self._batches(self.parts.train, self.order(number), size, number):
            yield batch, batch_length(batch) / size if scales else 1.0

    def scoring_batches(self, part: Part) -> Iterator[Any]:
        """Yield all batches of a part, in its own order."""
        size = max(self.problem.batch_size, _SCORING_BATCH_SIZE)
        yield from self._batches(part, np.arange(part.n), size, -1)

    def _batches(
        self, part: Part, order: NDArray[np.int64], size: int, number: int
    ) -> Iterator[Any]:
        """Yield batches on the device; what is drawn for one depends on pass and place alone."""
        prepare, batches = self.problem.prepare, part.batches(order, size)
        draws = prepare is not None or not isinstance(part, TensorPart)
        for place in count():
            if draws:
                seed_draws(derive_seed(self.seed, f"data {number}", place))
            if (batch := next(batches, None)) is None:
                return
            there = map_tensors(lambda tensor: tensor.to(self.device), batch)
            yield there if prepare is None else prepare(there)


def make_ready(problem: Problem, config: TrainingConfig) -> list[Ready]:
    """Read a problem's data; return it ready to be trained on each of its folds, or on its one
    training part.

    Raises ProblemError, DataError, and UnknownNameError for a device not to be had.
    """
    device = choose_device(config.device)
    problem = replace(
        apply_settings(problem, {**config.settings, "fixed": config.fixed}),
        epochs=config.epochs,
        batch_size=config.batch_size,
        last_batch=config.last_batch or problem.last_batch,
    )
    first, *others = read_parts(problem, config.seed)
    if isinstance(first.train, BatchPart):
        problem = replace(problem, batch_size=first.train.size)
    readies = [Ready(problem, first.to(device), None, device, config.seed)]
    for fold, parts in enumerate(others, start=1):  # each in an order of its own
        seed = derive_seed(config.seed, "fold", fold)
        readies.append(Ready(problem, parts.to(device), None, device, seed))
    return readies


def find_metric(ready: Ready, lane: Lane) -> Metric | None:
    """Return what the problem measures; None is its loss. Raises ProblemError."""
    problem, given = ready.problem, ready.problem.metric
    if given is None:
        if problem.step is None and _has_classes(ready, lane):
            return METRICS["accuracy"]
        return None
    if isinstance(given, str):
        if given == "loss":
            return None
        if given not in METRICS:
            raise ProblemError(
                f"metric {given!r}: choose {', '.join(METRICS)}, loss, or a function"
            )
        given = METRICS[given]
    elif not isinstance(given, Metric):
        name = getattr(given, "__name__", "metric")
        given = Metric("metric" if name == "<lambda>" else name, given)
    return given if problem.direction is None else replace(given, direction=problem.direction)


@torch.no_grad()
def _has_classes(ready: Ready, lane: Lane) -> bool:
    inputs, target = split_batch(next(ready.scoring_batches(ready.parts.validation)))
    if not isinstance(target, torch.Tensor) or target.is_floating_point():
        return False
    output = predict(lane.model.eval().model, inputs)
    is_one = isinstance(output, torch.Tensor) and output.dim() == target.dim() + 1
    return is_one and output.shape[1] > 1
