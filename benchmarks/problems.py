"""Problems of one's own: side by side beside one by one, through a DataLoader, and a whole job.

Programs are timed in this process with one thread, in turn, on the same batches. A study of a
tabular perceptron runs as its users run it, beside a plain Optuna script in one process.
"""

import statistics
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.commands import run_python
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting, show_spread, spread

NOTE = """\
Milliseconds a step of one model with batches of 64, one thread, median and extremes of {rounds}
rounds: one by one, and 8 and 16 models side by side (`torch.func.vmap`, differentiated outside).
`DataLoader` is models a second from a data set that takes 0.2 ms an example, with 1 and 8 lanes."""

_JOB = """
import torch
from torch import nn

def make_data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(5000, 20, generator=generator)
    return inputs, (inputs[:, 0] * inputs[:, 1] + inputs[:, 2] > 0).long()

def make_model():
    hidden = nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(64, 2))
"""
_OURS = (
    _JOB
    + """
from tuner import Problem
problem = Problem(make_model, make_data(), epochs=30)
"""
)
_PLAIN = (
    _JOB
    + """
import optuna
torch.set_num_threads(1)
inputs, labels = make_data()
train, validation = slice(0, 4000), slice(4000, 4500)

def objective(trial):
    decay = trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    torch.manual_seed(trial.number)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=decay)
    for epoch in range(30):
        for batch in torch.randperm(4000).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            guesses = model(inputs[validation]).argmax(1)
        accuracy = (guesses == labels[validation]).float().mean().item()
        trial.report(accuracy, epoch + 1)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy

optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", storage="sqlite:///plain.db")
study.optimize(objective, n_trials=100)
"""
)


def measure(setting: Setting) -> Section:
    """Time steps of several kinds of models, a slow data set, and a whole study."""
    import torch

    torch.set_num_threads(1)
    n_rounds = 2 if setting.is_quick else 5
    rows: list[list[str]] = []
    raw: dict[str, Any] = {}
    figures: list[Figure] = []
    for name, make in _MODELS.items():
        setting.announce(f"problems, {name}")
        found = _time_steps(make, n_rounds)
        raw |= {f"{name}, {n} lanes": spread(values) for n, values in found.items()}
        rows += [
            [name, "one by one" if n == 1 else f"{n} lanes", *show_spread(values, 3)]
            for n, values in found.items()
        ]
        alone, *beside = (statistics.median(values) for values in found.values())
        aim = 3.0 if name.startswith("perceptron") else 1 / 1.05
        chosen = max(1.0, alone / beside[-1])
        figures.append(Figure(f"{name}, the program chosen", chosen, " times", aim, at_least=True))
    setting.announce("problems, a slow data set")
    rates = _time_loader(2 if setting.is_quick else 3)
    rows += [["DataLoader", f"{n} lanes, models/s", *show_spread(v)] for n, v in rates.items()]
    gain = statistics.median(rates[8]) / statistics.median(rates[1])
    figures.append(Figure("DataLoader, 8 lanes beside 1", gain, " times", 5, at_least=True))
    setting.announce("problems, a whole job")
    ours, plain = _time_jobs(setting, 1 if setting.is_quick else 3)
    rows += [["whole job", "tuner run", *show_spread(ours)]]
    rows += [["whole job", "plain Optuna", *show_spread(plain)]]
    raw |= {"job, tuner run": spread(ours), "job, plain Optuna": spread(plain)}
    gain = statistics.median(plain) / statistics.median(ours)
    figures.append(Figure("whole job beside plain Optuna", gain, " times", 5, at_least=True))
    return Section(
        title="Problems",
        note=NOTE.format(rounds=n_rounds),
        headings=("what", "how", "median", "min", "max"),
        rows=rows,
        figures=figures,
        raw=raw,
    )


def _perceptron(*widths: int) -> Callable[[], Any]:
    from torch import nn

    def make() -> nn.Module:
        layers: list[nn.Module] = []
        for left, right in zip((20, *widths), (*widths, 2), strict=True):
            layers += [nn.Linear(left, right), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    return make


def _cnn() -> Any:
    from torch import nn

    return nn.Sequential(
        *(nn.Unflatten(1, (1, 4, 5)), nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(160, 2)),
    )


def _transformer() -> Any:
    from torch import nn

    block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    return nn.Sequential(
        nn.Unflatten(1, (5, 4)), nn.Linear(4, 16), block, nn.Flatten(), nn.Linear(80, 2)
    )


_MODELS: dict[str, Callable[[], Any]] = {
    "perceptron of 1,474": _perceptron(64),
    "perceptron of 5,634": _perceptron(64, 64),
    "perceptron of 19,586": _perceptron(128, 128),
    "small CNN": _cnn,
    "small Transformer": _transformer,
}


def _make_ready(make: Callable[[], Any]) -> Any:
    import torch

    from objectives.base import TrainingConfig
    from objectives.problem import Problem
    from objectives.ready import make_ready

    inputs = torch.randn(3000, 20, generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0] * inputs[:, 1] + inputs[:, 2] > 0).long()
    return make_ready(Problem(make, (inputs, labels)), TrainingConfig("", "", 0, device="cpu"))[0]


def _time_steps(make: Callable[[], Any], n_rounds: int) -> dict[int, list[float]]:
    """Return the milliseconds of a step of one model, by number of lanes."""
    from objectives.gradients import OneByOne, Stacked
    from objectives.group import Group

    ready = _make_ready(make)
    params = {"lr": 0.1, "weight_decay": 1e-4}
    groups = {
        n: Group(
            OneByOne if n == 1 else Stacked,
            ready.problem,
            [ready.build(params, seed) for seed in range(n)],
            ready.n_steps,
        )
        for n in (1, 8, 16)
    }
    found: dict[int, list[float]] = {n: [] for n in groups}
    for number in range(n_rounds + 1):
        batches = [batch for batch, _ in ready.training_batches(number)]
        for n, group in groups.items():
            started = time.perf_counter()
            for batch in batches:
                group.take(batch)
            seconds = time.perf_counter() - started
            if number:  # the first warms up
                found[n].append(1000 * seconds / len(batches) / n)
    return found


class _Slow:
    """Examples that take as long to read as a small image takes to decode."""

    def __init__(self, inputs: Any, labels: Any) -> None:
        self._inputs, self._labels = inputs, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        ends = time.perf_counter() + 2e-4
        while time.perf_counter() < ends:
            pass
        return self._inputs[index], self._labels[index]


def _time_loader(n_rounds: int) -> dict[int, list[float]]:
    """Return how many models are trained for an epoch a second, by number of lanes."""
    import numpy as np
    from torch.utils.data import default_collate

    from objectives.data import ExamplePart
    from objectives.gradients import OneByOne, Stacked
    from objectives.problem_lanes import ProblemLanes
    from objectives.program_choice import Choice

    ready = _make_ready(_perceptron(64))
    data = _Slow(*ready.parts.train.tree)
    streamed = ExamplePart(data, default_collate, 0, in_memory=False, indices=np.arange(len(data)))
    ready = replace(ready, parts=replace(ready.parts, train=streamed))
    found: dict[int, list[float]] = {}
    for _ in range(n_rounds):
        for n, program in ((1, OneByOne), (8, Stacked)):
            lanes = ProblemLanes(ready, Choice(program, n))
            for number in range(n):
                lanes.add(number, {"lr": 0.1, "weight_decay": 1e-4})
            started = time.perf_counter()
            lanes.train_pass()
            found.setdefault(n, []).append(n / (time.perf_counter() - started))
    return found


def _time_jobs(setting: Setting, n_rounds: int) -> tuple[list[float], list[float]]:
    """Return the seconds of 100 trials of at most 30 epochs, ours and plain Optuna's."""
    (setting.folder / "job.py").write_text(textwrap.dedent(_OURS))
    (setting.folder / "plain.py").write_text(textwrap.dedent(_PLAIN))
    ours, plain = [], []
    for number in range(n_rounds):
        storage = f"sqlite:///{setting.folder / f'job-{number}.db'}"
        command = ["-m", "tuner", "run", "--objective", "job:problem", "--study", "job"]
        sizes = ["--trials", "100", "--no-confirm", "--storage", storage]
        ours.append(run_python(setting, [*command, *sizes]))
        (setting.folder / "plain.db").unlink(missing_ok=True)
        plain.append(run_python(setting, ["plain.py"]))
    return ours, plain
