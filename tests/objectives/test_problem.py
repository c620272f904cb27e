"""A problem trains as plain torch would, whatever program and neighbours; what is wrong is told."""

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from objectives import ObjectiveError, TrainingConfig
from objectives.describing import describe
from objectives.functions import digest_code
from objectives.gradients import OneByOne, Stacked
from objectives.group import Program
from objectives.parts import read_parts
from objectives.problem import Metric, Problem
from objectives.problem_lanes import ProblemLanes
from objectives.program_choice import Choice
from objectives.ready import find_metric, make_ready
from objectives.seeds import derive_seed, permutation

N, SEED, EPOCHS, BATCH = 150, 3, 3, 16
_GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(N, 6, generator=_GENERATOR)
CLASSES = (INPUTS[:, 0] * INPUTS[:, 1] > 0).long()
CONFIG = TrainingConfig("", "", SEED, batch_size=BATCH, epochs=EPOCHS, device="cpu")
TRIALS = ({"lr": 0.05, "weight_decay": 1e-2}, {"lr": 0.02, "weight_decay": 0.3})


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


PROBLEM = Problem(_perceptron, (INPUTS, CLASSES), epochs=EPOCHS, batch_size=BATCH)


def _open(problem: Problem, program: Program, n_lanes: int = 4) -> ProblemLanes:
    ready = make_ready(problem, CONFIG)[0]
    ready = replace(ready, metric=find_metric(ready, ready.build(TRIALS[0], 0)))
    return ProblemLanes(ready, Choice(program, n_lanes))


def _train(problem: Problem, program: Program, trials: Any = TRIALS) -> ProblemLanes:
    lanes = _open(problem, program)
    for number, params in enumerate(trials):
        lanes.add(number, params)
    for _ in range(EPOCHS):
        results = lanes.train_pass()
        assert not lanes.take_failures()
        assert len(results) == len(trials)
    return lanes


def _weights(lanes: ProblemLanes, number: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = lanes.state(number)["model"]
    return found


def _plain_torch(
    problem: Problem, make: Any, number: int, schedule: Any = None, smoothing: float = 0.0
) -> nn.Module:
    """Train as everybody does: an optimizer, a loop."""
    parts = read_parts(problem, SEED)[0]
    features, labels = parts.train.tree  # type: ignore[attr-defined]
    torch.manual_seed(derive_seed(SEED, "init", number))
    model: nn.Module = problem.model()
    optimizer = make(model)
    n_steps = -(-len(labels) // BATCH)
    scheduler = None if schedule is None else schedule(optimizer, EPOCHS * n_steps)
    loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
    for epoch in range(EPOCHS):
        order = torch.from_numpy(permutation(len(labels), derive_seed(SEED, "order", epoch)))
        for batch in torch.split(order, BATCH):
            optimizer.zero_grad()
            loss(model(features[batch]), labels[batch]).backward()
            if problem.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), problem.clip_norm)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
    return model


_RULES: dict[str, tuple[dict[str, Any], Any]] = {
    "sgd": ({}, torch.optim.SGD),
    "momentum": ({"momentum": 0.9}, partial(torch.optim.SGD, momentum=0.9)),
    "clipped": ({"clip_norm": 0.1}, torch.optim.SGD),
    "adam": ({"optimizer": "adam"}, torch.optim.Adam),
    "adamw": ({"optimizer": "adamw"}, torch.optim.AdamW),
}


@pytest.mark.parametrize("rule", list(_RULES))
@pytest.mark.parametrize("program", [OneByOne, Stacked])
def test_problem_trains_as_a_loop_of_plain_torch_does(rule: str, program: Program) -> None:
    """The weights are those of torch's own optimizer after three epochs, for each trial."""
    fields, make = _RULES[rule]
    problem = replace(PROBLEM, last_batch="keep", **fields)
    lanes = _train(problem, program)
    for number, params in enumerate(TRIALS):
        expected = _plain_torch(problem, lambda m, p=params: make(m.parameters(), **p), number)
        for name, tensor in expected.state_dict().items():
            assert torch.allclose(tensor, _weights(lanes, number)[name], rtol=1e-3, atol=1e-5)


_SCHEDULES: dict[str, Any] = {
    "cosine": torch.optim.lr_scheduler.CosineAnnealingLR,
    "onecycle": lambda optimizer, n: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, TRIALS[0]["lr"], total_steps=n, cycle_momentum=False
    ),
}


@pytest.mark.parametrize("schedule", list(_SCHEDULES))
def test_schedule_is_that_of_torch(schedule: Any) -> None:
    """The learning rate follows torch's schedule of the same name over the whole training."""
    problem = replace(PROBLEM, last_batch="keep", schedule=schedule)
    lanes = _train(problem, OneByOne, TRIALS[:1])
    expected = _plain_torch(
        problem, lambda m: torch.optim.SGD(m.parameters(), **TRIALS[0]), 0, _SCHEDULES[schedule]
    )
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(tensor, _weights(lanes, 0)[name], rtol=1e-3, atol=1e-5)


def test_decay_of_matrices_alone_is_that_of_parameter_groups() -> None:
    """Biases keep what they have."""
    problem = replace(PROBLEM, last_batch="keep", decays="matrices")

    def make(model: nn.Module) -> torch.optim.Optimizer:
        decaying = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() == 1]
        groups = [{"params": decaying, "weight_decay": 0.3}, {"params": others}]
        return torch.optim.SGD(groups, lr=0.02)

    lanes = _train(problem, Stacked)
    for name, tensor in _plain_torch(problem, make, 1).state_dict().items():
        assert torch.allclose(tensor, _weights(lanes, 1)[name], rtol=1e-3, atol=1e-5)


def test_penalties_and_smoothing_are_what_their_names_say() -> None:
    """l2_penalty λ is weight_decay 2λ of SGD; label_smoothing is torch's; l1 makes zeros likely."""
    problem = replace(PROBLEM, last_batch="keep")
    trials = [{"lr": 0.02, "weight_decay": 0.3}, {"lr": 0.02, "l2_penalty": 0.15}]
    for program in (OneByOne, Stacked):
        by_decay, by_penalty = (
            _train(problem, program, [trial]).state(0)["model"] for trial in trials
        )
        for name, tensor in by_decay.items():
            assert torch.allclose(tensor, by_penalty[name], rtol=1e-3, atol=1e-5)
        smoothed = _train(problem, program, [{"lr": 0.05, "label_smoothing": 0.2}] * 2)
        expected = _plain_torch(
            problem, lambda m: torch.optim.SGD(m.parameters(), lr=0.05), 1, smoothing=0.2
        )
        for name, tensor in expected.state_dict().items():
            assert torch.allclose(tensor, _weights(smoothed, 1)[name], rtol=1e-3, atol=1e-5)
    sparse = _weights(_train(problem, OneByOne, [{"lr": 0.1, "l1": 0.5}]), 0)["0.weight"]
    assert sparse.abs().mean() < 0.1


class _Varied(nn.Module):
    """Batch norm and dropout: what has buffers, and what draws."""

    def __init__(self, dropout: float = 0.2, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)
        )
        self.output = nn.Linear(width, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.output(self.layers(inputs))
        return result


def test_trial_is_the_same_beside_any_neighbours_and_after_a_checkpoint() -> None:
    """Dropout draws from the trial's own seed; what a lane consists of is in its state."""
    problem = replace(PROBLEM, model=_Varied, optimizer="adam", space={"width": [8, 12]})
    trials = [{"lr": 0.01, "width": width} for width in (8, 12, 8)]
    beside = _train(problem, OneByOne, trials)
    alone = _open(problem, OneByOne)
    alone.add(2, trials[2])
    alone.train_pass()
    state = alone.state(2)
    resumed = _open(problem, OneByOne)
    resumed.go_to_pass(1)
    resumed.add(2, trials[2], 1, state)
    for _ in range(EPOCHS - 1):
        result = resumed.train_pass()[2]
    assert result.epoch == EPOCHS
    for name, tensor in _weights(beside, 2).items():
        assert torch.equal(tensor, _weights(resumed, 2)[name]), name


def test_what_is_drawn_for_a_batch_is_the_same_beside_any_neighbours() -> None:
    """Augmentation draws from the pass and the batch, whatever the models have drawn."""

    def blur(batch: Any) -> Any:
        inputs, labels = batch
        return inputs + 0.1 * torch.randn_like(inputs), labels

    problem = replace(PROBLEM, model=_Varied, prepare=blur)
    beside, alone = _train(problem, OneByOne), _train(problem, OneByOne, TRIALS[:1])
    for name, tensor in _weights(alone, 0).items():
        assert torch.equal(tensor, _weights(beside, 0)[name]), name


def test_batch_norm_beside_others_is_batch_norm_alone() -> None:
    """Its statistics are the lane's own."""
    problem = replace(PROBLEM, model=lambda: _Varied(dropout=0.0))
    beside, alone = _train(problem, Stacked), _train(problem, OneByOne)
    for number in range(2):
        for name, tensor in _weights(alone, number).items():
            assert torch.allclose(tensor, _weights(beside, number)[name], rtol=1e-3, atol=1e-4)


class _Frozen(nn.Module):
    """A body that is not trained, of each trial's own, and a head that is."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 8).requires_grad_(requires_grad=False)
        self.head = nn.Linear(8, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(torch.relu(self.body(inputs)))
        return result


def test_parameters_that_are_frozen_stay_as_they_are() -> None:
    """They are each lane's own, alone and side by side."""
    problem = replace(PROBLEM, model=_Frozen)
    beside, alone = _train(problem, Stacked), _train(problem, OneByOne)
    fresh = _open(problem, OneByOne)
    fresh.add(1, TRIALS[1])
    for name, tensor in _weights(alone, 1).items():
        assert torch.allclose(tensor, _weights(beside, 1)[name], rtol=1e-3, atol=1e-5)
        assert torch.equal(tensor, _weights(fresh, 1)[name]) == name.startswith("body")


@pytest.mark.parametrize("program", [OneByOne, Stacked])
@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "streamed"])
def test_batch_size_of_a_trials_own_is_that_of_a_study_with_it(
    program: Program, *, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials with other batches are another group; each trains as if all had its batches."""
    problem = PROBLEM if in_memory else replace(PROBLEM, data=_Examples(N))
    monkeypatch.setattr("objectives.reading._free_bytes", lambda: 1e9 if in_memory else 1.0)
    trials = [{**TRIALS[number % 2], "batch_size": size} for number, size in enumerate((8, 8, 30))]
    beside = _train(replace(problem, last_batch="keep"), program, trials)
    for number, params in enumerate(trials):
        config = replace(CONFIG, batch_size=params["batch_size"], last_batch="keep")
        alone = ProblemLanes(make_ready(problem, config)[0], Choice(OneByOne, 1))
        alone.add(number, TRIALS[number % 2])
        for _ in range(EPOCHS):
            assert alone.train_pass()
        for name, tensor in _weights(alone, number).items():
            assert torch.allclose(tensor, _weights(beside, number)[name], rtol=1e-3, atol=1e-5)


def test_model_that_raises_ends_its_own_trial() -> None:
    """The neighbours go on; the error is that trial's."""

    class _Odd(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.training and self.out_features == 3:
                raise RuntimeError("three is too many")
            return super().forward(inputs)

    def make(width: int = 2) -> nn.Module:
        if width == 5:
            raise SystemExit("five is odd")
        return nn.Sequential(_Odd(6, width), nn.Linear(width, 2))

    lanes = _open(replace(PROBLEM, model=make, space={"width": [2, 3, 5]}), Stacked)
    for number, width in enumerate((2, 3, 5, 2)):
        lanes.add(number, {"lr": 0.1, "width": width})
    assert sorted(lanes.train_pass()) == [0, 3]
    failures = lanes.take_failures()
    assert {number: str(error) for number, error in failures.items()} == {
        1: "three is too many",
        2: "five is odd",
    }


def test_parts_are_drawn_by_the_seed_and_share_nothing() -> None:
    """The test part is a share, too; another seed draws another split."""
    one, again, other = (read_parts(PROBLEM, seed)[0] for seed in (1, 1, 2))
    assert [part.n for part in (one.train, one.validation, one.test)] == [120, 15, 15]  # type: ignore[union-attr]
    assert one.train.digest() == again.train.digest() != other.train.digest()
    rows = [tuple(row) for part in vars(one).values() for row in part.tree[0].tolist()]
    assert len(set(rows)) == N


def test_splitter_keeps_groups_together() -> None:
    """scikit-learn's splitter decides; no group is on two sides."""
    from sklearn.model_selection import GroupShuffleSplit

    people = np.arange(N) // 5
    inputs = torch.cat([INPUTS, torch.from_numpy(people)[:, None]], 1)
    problem = replace(
        PROBLEM, data=(inputs, CLASSES), splitter=GroupShuffleSplit(2, test_size=0.2), groups=people
    )
    parts = read_parts(problem, SEED)[0]
    found = [set(part.tree[0][:, -1].tolist()) for part in vars(parts).values()]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(found, 2))
    assert read_parts(problem, SEED)[0].train.digest() == parts.train.digest()


class _Examples(Dataset):  # type: ignore[type-arg]
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return INPUTS[index], int(CLASSES[index])


def _batches() -> Any:
    return zip(torch.split(INPUTS, 50), torch.split(CLASSES, 50), strict=True)


def test_data_of_any_kind_trains_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays, a data set, one that memory does not hold, and batches of somebody's own making."""
    given = {"validation": (INPUTS, CLASSES), "test": None, "data": None, "last_batch": "keep"}
    kinds: dict[str, Any] = {
        "tensors": (INPUTS, CLASSES),
        "arrays": [INPUTS.double().numpy(), CLASSES.int().numpy()],
        "data set": _Examples(N),
        "tensor data set": TensorDataset(INPUTS, CLASSES),
        "examples": [_Examples(N)[index] for index in range(N)],
        "streamed": _Examples(N),
    }
    found = {}
    for kind, data in kinds.items():
        if kind == "streamed":
            monkeypatch.setattr("objectives.reading._free_bytes", lambda: 1.0)
        problem = replace(PROBLEM, train=data, **given)
        found[kind] = _weights(_train(problem, Stacked), 1)["0.weight"]
    monkeypatch.undo()
    for weight in found.values():
        assert torch.allclose(weight, found["tensors"], atol=1e-6)
    loader = DataLoader(TensorDataset(INPUTS, CLASSES), BATCH, shuffle=True)
    for batches in (_batches, loader):
        one, again = (_train(replace(PROBLEM, train=batches, **given), Stacked) for _ in range(2))
        assert torch.equal(_weights(one, 1)["0.weight"], _weights(again, 1)["0.weight"])


_ONE = _perceptron()


def _describe(**fields: Any) -> Any:
    return describe(replace(PROBLEM, **fields), None, {}, seed=0)


_BAD: dict[str, tuple[dict[str, Any], str]] = {
    "space": (
        {"model": _Varied, "space": {"dropuot": (0.0, 0.5)}},
        "did you mean 'dropout'",
    ),
    "strength": ({"strength": "l3"}, "'l3' is not in the space"),
    "range": ({"space": {"lr": (1.0, 0.1)}}, "is no range"),
    "model raises": ({"model": lambda width=7: nn.Linear(width, "x")}, "model() raised TypeError"),
    "no module": ({"model": lambda: 3}, "model returned int, not a torch.nn.Module"),
    "a module": ({"model": nn.Linear(6, 2)}, "give what makes one, say `lambda: ...`"),
    "one module": ({"model": lambda: _ONE}, "the same module twice"),
    "lengths": ({"data": (INPUTS, CLASSES[:-1])}, "150 and 149 examples"),
    "lengths of many": ({"data": [INPUTS[:n] for n in range(1, 9)]}, "1 and 2 and 3 examples:"),
    "bytes": ({"data": ((INPUTS * 99).byte(), CLASSES)}, "(uint8 data, a float32 model: `prepare`"),
    "column": ({"data": (INPUTS, CLASSES[:, None])}, "shape (16, 1): give one for each example"),
    "nan": ({"data": (INPUTS / 0, CLASSES)}, "hold NaN or infinity"),
    "labels": ({"data": (INPUTS, CLASSES + 1)}, "labels are 1 to 2, and the model has 2"),
    "vector loss": (
        {"loss": lambda o, t: nn.functional.cross_entropy(o, t, reduction="none")},
        "the loss is no scalar but (16,)",
    ),
    "loss raises": ({"loss": lambda o, t: o[t, 9]}, "the loss of a batch raised IndexError"),
    "double model": (
        {"model": lambda: nn.Linear(4, 2).double()},
        "(float32 data, a float64 model: `prepare` can convert it)",
    ),
    "constant loss": ({"loss": lambda _o, _t: torch.tensor(1.0)}, "does not depend on the model"),
    "metric raises": ({"metric": lambda _o, _t: 1 / 0}, "raised ZeroDivisionError"),
    "metric nan": ({"metric": lambda _o, _t: float("nan")}, "over the validation part is nan"),
    "metric name": ({"metric": "acuracy"}, "choose accuracy"),
    "overlap": (
        {"data": None, "train": (INPUTS, CLASSES), "validation": (INPUTS[:30], CLASSES[:30])},
        "30 of its 30 examples are in train",
    ),
    "empty": ({"validation": 0.001}, "validation=0.001 of 150 examples are 0"),
    "batch": ({"batch_size": 121}, "batch_size=121: train has 120 examples"),
    "lazy": ({"model": lambda: nn.LazyLinear(2)}, "has lazy modules"),
    "no data": ({"data": "churn.csv"}, "data: str is no data"),
}


@pytest.mark.parametrize(
    "data",
    [
        (INPUTS.tolist(), CLASSES.tolist()),
        [INPUTS.numpy(), CLASSES.numpy()],
        (INPUTS.double().numpy(), CLASSES.numpy().astype("int8")),
        (INPUTS.numpy(), CLASSES.numpy().astype("uint16")),
        (INPUTS, CLASSES.bool()),
    ],
    ids=["lists of numbers", "a list of arrays", "int8", "uint16", "bool"],
)
def test_data_of_many_forms_is_the_same(data: Any) -> None:
    """As pandas, NumPy and people write it."""
    assert _describe(data=data).facts.metric.name == "validation accuracy"
    ready = make_ready(replace(PROBLEM, data=data), CONFIG)[0]
    (inputs, labels), _ = next(ready.training_batches(0))
    (expected, classes), _ = next(make_ready(PROBLEM, CONFIG)[0].training_batches(0))
    assert torch.equal(inputs, expected)
    assert torch.equal(labels.long(), classes)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", list(_BAD))
def test_what_does_not_fit_is_told_in_one_line(case: str) -> None:
    """With its name, and what to do; nothing has been stored."""
    fields, message = _BAD[case]
    with pytest.raises(ObjectiveError) as told:
        _describe(**fields)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_description_holds_what_is_known_without_the_module() -> None:
    """Metric, space, recipe, data: for coordinators, answers and pictures."""
    metric = Metric("F1", lambda _o, _t: 0.5, is_proportion=True)
    found = _describe(metric=metric, optimizer="adamw", decays="matrices", test=0)
    facts = found.facts
    assert (facts.metric.name, facts.metric.is_proportion) == ("validation F1", True)
    assert list(facts.space) == ["weight_decay", "lr"]
    assert facts.with_zero
    assert (facts.recipe.optimizer, facts.recipe.decay) == ("AdamW", "decoupled")
    assert (facts.data.n_train, facts.data.n_validation, facts.data.n_test) == (135, 15, 0)


def test_digest_of_code_is_of_what_it_does() -> None:
    """Comments and blanks are free."""
    assert digest_code("x = 1") == digest_code("# one\nx  =  1\n") != digest_code("x = 2")
