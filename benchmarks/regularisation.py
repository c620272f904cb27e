"""What each regulariser is worth: searched with the same budget, chosen and scored on fresh seeds.

    python -m benchmarks.regularisation [--quick] [--studies N] [--trials N] [--epochs N] [--task T]

Each study is a search of SimpleNet by Optuna's TPE, with a seed of its own, so another split. Its
best trials are trained on fresh seeds, the best of them by validation is trained on others, and
scored on the test set. All in one process and thread, without pruning: the budget is the same to
the epoch. Writes ``benchmarks/results/regularisation.*``; of ``--quick``,
``regularisation-quick.*``. Kadra et al. 2021 ("Well-tuned simple nets excel on tabular datasets")
is what it is held against: combined, regularisers should be as good as the best of them.
"""

import itertools
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import optuna
import typer
from optuna.samplers import TPESampler
from rich.console import Console

from benchmarks.databases import product
from benchmarks.machine import describe_machine
from benchmarks.results import FOLDER, Results, write_results
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting
from objectives import Lanes, Params
from objectives.datasets import load_training_data
from tuner.space import find_space, suggest
from tuner.spec import Spec, build_new_spec

_LAMBDA = {"weight_decay": (1e-5, 1e-1)}
_DROPOUT = {"dropout": (0.0, 0.8)}
_SMOOTHING = {"label_smoothing": (0.0, 0.4)}
# By name, the options of a study. The learning rate is searched with each, in [1e-3, 1] for SGD.
METHODS: dict[str, dict[str, Any]] = {
    "none": {"strength": "l2_penalty", "search": {"l2_penalty": (0.0, 0.0)}},
    "L2": {"search": _LAMBDA},
    "L1": {"strength": "l1", "search": {"l1": (1e-6, 1e-1)}, "proximal": True},
    "elastic net": {
        "strength": "alpha",
        "search": {"alpha": (1e-6, 1e-1), "l1_ratio": (0.0, 1.0)},
        "proximal": True,
    },
    "dropout": {"strength": "dropout", "search": _DROPOUT},
    "label smoothing": {"strength": "label_smoothing", "search": _SMOOTHING},
    "L2 + dropout": {"search": {**_LAMBDA, **_DROPOUT}},
    "L1 + L2 + dropout + smoothing": {
        "search": {**_LAMBDA, "l1": (1e-7, 1e-2), **_DROPOUT, **_SMOOTHING},
        "proximal": True,
    },
    "AdamW's decay": {"optimizer": "adamw", "weight_decay": (1e-3, 3.0), "lr": (1e-4, 3e-2)},
}
SINGLE, COMBINED = list(METHODS)[1:6], list(METHODS)[6:8]

# Seeds of a study's trainings: of its search, of the choice among its best, of the test.
_SEARCH, _CHOICE, _TEST = 0, 2_000_000, 3_000_000

NOTE = """\
SimpleNet (128 units) on {tasks}: for each regulariser {n_studies} studies of {n_trials} trials and
{epochs} epochs (TPE), each with a seed of its own: another split, another search, the same ones for
every regulariser. The {n_candidates} best trials of a study were trained on
{n_choosing} fresh seeds, and the best of them by validation on {n_testing} others, where its test
accuracy was measured, in percent: means over studies ± their standard error, and the difference to
no regularisation, paired by study. `label noise`: that share of the training labels is wrong. What
is called the best of several is so by this very test, which favours those that are more; what is
chosen by validation is chosen in each study by the fresh seeds that chose its trial."""


@dataclass(frozen=True)
class Task:
    """What is learnt, as options of a study."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Amounts:
    """How much is measured of each regulariser."""

    tasks: tuple[Task, ...]
    n_studies: int = 5
    n_trials: int = 20
    epochs: int = 40
    n_candidates: int = 2
    n_choosing: int = 2
    n_testing: int = 3
    first_seed: int = 40


@dataclass(frozen=True)
class Found:
    """How good is what a study has found, in percent: tested, and when it was chosen."""

    test: float
    validation: float


TASKS = (
    Task("MNIST, 1,000 images", {"dataset": "mnist", "train_size": 1000}),
    Task("digits", {"dataset": "digits"}),
    Task(
        "breast cancer, label noise 0.2",
        {"dataset": "breast-cancer", "label_noise": 0.2, "batch_size": 32},
    ),
    Task("wine, label noise 0.2", {"dataset": "wine", "label_noise": 0.2, "batch_size": 16}),
)
FULL = Amounts(TASKS)
QUICK = Amounts(TASKS[2:], 2, n_trials=4, epochs=3, n_choosing=1, n_testing=1)


def measure(setting: Setting, amounts: Amounts) -> Section:
    """Search, choose and score for all tasks, regularisers and studies."""
    found: dict[tuple[str, str], list[Found]] = {}
    for task, method in itertools.product(amounts.tasks, METHODS):
        setting.announce(f"{task.name}, {method}")
        seeds = range(amounts.first_seed, amounts.first_seed + amounts.n_studies)
        found[task.name, method] = [_study(setting, amounts, task, method, s) for s in seeds]
    return build_section(amounts, found)


def make_spec(amounts: Amounts, task: Task, method: str, seed: int) -> Spec:
    """Return the spec of a study."""
    own = {"epochs": amounts.epochs, "seed": seed}
    return build_new_spec({**task.options, **METHODS[method], **own})


def _study(setting: Setting, amounts: Amounts, task: Task, method: str, seed: int) -> Found:
    """Return how good is what a study finds."""
    import torch

    from objectives.opening import open_training

    torch.set_num_threads(1)
    spec = make_spec(amounts, task, method, seed)
    config = spec.training_config(data_dir=setting.data_dir, device="cpu")
    lanes = open_training(config, 1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=seed))
    for number in range(amounts.n_trials):
        trial = study.ask()
        value = _train(lanes, spec.epochs, suggest(trial, find_space(spec)), _SEARCH + number)
        study.tell(trial, value)
    ranked = sorted(study.get_trials(), key=lambda trial: -trial.values[0])

    def choose(params: Params) -> float:
        seeds = range(_CHOICE, _CHOICE + amounts.n_choosing)
        return statistics.fmean(_train(lanes, spec.epochs, params, fresh) for fresh in seeds)

    candidates = [trial.params for trial in ranked[: amounts.n_candidates]]
    values = [choose(params) for params in candidates]
    chosen = candidates[values.index(max(values))]
    seeds = range(_TEST, _TEST + amounts.n_testing)
    tests = [_train(lanes, spec.epochs, chosen, fresh, is_test=True) for fresh in seeds]
    return Found(100 * statistics.fmean(tests), 100 * max(values))


def _train(lanes: Lanes, epochs: int, params: Params, seed: int, *, is_test: bool = False) -> float:
    """Return the accuracy after a training, of an initialisation and an order of this seed."""
    lanes.add(0, params, init=seed)
    lanes.go_to_pass(seed * epochs)
    for _ in range(epochs):
        result = lanes.train_pass()[0]
        if result.is_diverged:
            break
    value = lanes.test_value(0) if is_test else result.value
    lanes.remove(0)
    return value if math.isfinite(value) else 0.0


def build_section(amounts: Amounts, found: Mapping[tuple[str, str], Sequence[Found]]) -> Section:
    """Return what was measured as a table, figures and raw data."""
    tasks = [task.name for task in amounts.tasks]
    values = {key: [each.test for each in own] for key, own in found.items()}
    validation = {key: [each.validation for each in own] for key, own in found.items()}
    rows = []
    for method in METHODS:
        cells = []
        for task in tasks:
            own, none = values[task, method], values[task, "none"]
            gains = [a - b for a, b in zip(own, none, strict=True)]
            beside = "" if method == "none" else f" ({_tell(gains, signed=True)})"
            cells.append(f"{_tell(own)}{beside}")
        rows.append([method, *cells])
    note = NOTE.format(
        tasks="; ".join(tasks),
        **{
            name: getattr(amounts, name) for name in Amounts.__dataclass_fields__ if name != "tasks"
        },
    )
    return Section(
        title="What each regulariser is worth",
        note=note,
        headings=("regulariser", *tasks),
        rows=rows,
        figures=[each for task in tasks for each in (_compare(task, values), _choose(task, found))],
        raw={
            name: {task: {method: part[task, method] for method in METHODS} for task in tasks}
            for name, part in (("test", values), ("validation", validation))
        },
    )


def _tell(values: Sequence[float], *, signed: bool = False) -> str:
    mean, sign = statistics.fmean(values), "+" if signed else ""
    return f"{mean:{sign}.2f} ± {_error(values):.2f}"


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def _compare(task: str, values: Mapping[tuple[str, str], Sequence[float]]) -> Figure:
    """Return how the best combination stands beside the best single regulariser."""

    def best(methods: Sequence[str]) -> Sequence[float]:
        return max((values[task, method] for method in methods), key=statistics.fmean)

    name = f"{task}: best combination less the best single regulariser"
    return _tell_gain(name, best(COMBINED), best(SINGLE))


def _choose(task: str, found: Mapping[tuple[str, str], Sequence[Found]]) -> Figure:
    """Return the same of those that each study would choose, which looks at no test."""

    def chosen(methods: Sequence[str]) -> Sequence[float]:
        by_study = zip(*(found[task, method] for method in methods), strict=True)
        return [max(study, key=lambda each: each.validation).test for study in by_study]

    name = f"{task}: combination less single regulariser, both chosen by validation"
    return _tell_gain(name, chosen(COMBINED), chosen(SINGLE))


def _tell_gain(name: str, values: Sequence[float], beside: Sequence[float]) -> Figure:
    gains = [a - b for a, b in zip(values, beside, strict=True)]
    return Figure(
        name,
        statistics.fmean(gains),
        " points",
        -round(_error(gains), 2),
        at_least=True,
        spread=f"± {_error(gains):.2f}",
    )


def draw(raw: dict[str, Any], file: Path) -> None:
    """Write the picture: a panel a task, a regulariser a line, with twice its standard error."""
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(15, 4.6), layout="constrained")
    panels = picture.subplots(1, len(raw), sharey=True, squeeze=False)[0]
    for axes, (task, by_method) in zip(panels, raw.items(), strict=True):
        names = list(by_method)[::-1]
        means = [statistics.fmean(by_method[name]) for name in names]
        errors = [2 * _error(by_method[name]) for name in names]
        axes.errorbar(means, range(len(names)), xerr=errors, fmt="o", color="#1b62a5", capsize=3)
        axes.axvline(statistics.fmean(by_method["none"]), color="#444444", linestyle=":")
        axes.set_yticks(range(len(names)), names)
        axes.set_title(task, fontsize=12)
        axes.set_xlabel("test accuracy, %, ± 2 standard errors")
        axes.grid(visible=True, axis="x", color="#e4e4e4")
    picture.savefig(file, dpi=110)


def main(  # noqa: PLR0913 (options of a command)
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A minute: small studies.")] = False,
    studies: Annotated[int, typer.Option(help="Studies a regulariser.")] = FULL.n_studies,
    trials: Annotated[int, typer.Option(help="Trials a study.")] = FULL.n_trials,
    epochs: Annotated[int, typer.Option(help="Epochs a trial.")] = FULL.epochs,
    task: Annotated[
        list[str] | None, typer.Option(help="Begin of a task's name. Repeatable. Default: all.")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
    results_dir: Annotated[Path, typer.Option(help="Where results are written.")] = FOLDER,
) -> None:
    """Search each regulariser with the same budget, and score what is found."""
    tasks = tuple(each for each in TASKS if each.name.startswith(tuple(task or [""])))
    full = replace(FULL, tasks=tasks, n_studies=studies, n_trials=trials, epochs=epochs)
    amounts, started, machine = QUICK if quick else full, time.monotonic(), describe_machine()
    for each in amounts.tasks:
        load_training_data(each.options["dataset"], seed=0, data_dir=data_dir)  # fetched once
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("") as status:
        setting = Setting(quick, data_dir.resolve(), (), Path(folder), status.update)
        section = measure(setting, amounts)
    results = Results(
        command=" ".join(["python -m benchmarks.regularisation", *sys.argv[1:]]),
        is_quick=quick,
        machine=machine,
        databases=dict([product(None)]),
        seconds=time.monotonic() - started,
        sections={"regularisation": section},
    )
    name = "regularisation-quick" if quick else "regularisation"
    files = write_results(results, results_dir, name)
    draw(section.raw["test"], results_dir / f"{name}.png")
    for file in (*files, results_dir / f"{name}.png"):
        print(file)


if __name__ == "__main__":
    typer.run(main)
