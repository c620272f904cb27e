"""What each regulariser is worth: searched with the same budget, chosen and scored on fresh seeds.

    python -m benchmarks.regularisation [--quick] [--data-dir data] [--results-dir DIR]

Each study is a `tuner run` of SimpleNet with a seed of its own, so another split and another
search. Its best trials are trained on fresh seeds, the best of them by validation is trained on
others, and scored on the test set. Writes ``benchmarks/results/regularisation.*``; of ``--quick``,
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.commands import tuner_run
from benchmarks.databases import product
from benchmarks.machine import describe_machine
from benchmarks.results import FOLDER, Results, write_results
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting
from objectives import Params
from objectives.datasets import load_training_data
from storage import open_storage
from tuner.spec import Spec
from tuner.study import load_study

_LAMBDA = ("--weight-decay", "1e-5", "1e-1")
_DROPOUT = ("--search", "dropout=0.0..0.8")
_SMOOTHING = ("--search", "label_smoothing=0.0..0.4")
# By name, the options of a study. The learning rate is searched with each, in [1e-3, 1] for SGD.
METHODS: dict[str, tuple[str, ...]] = {
    "none": ("--strength", "l2_penalty", "--search", "l2_penalty=0.0..0.0"),
    "L2": _LAMBDA,
    "L1": ("--strength", "l1", "--search", "l1=1e-6..1e-1", "--proximal"),
    "elastic net": (
        *("--strength", "alpha", "--search", "alpha=1e-6..1e-1"),
        *("--search", "l1_ratio=0.0..1.0", "--proximal"),
    ),
    "dropout": ("--strength", "dropout", *_DROPOUT),
    "label smoothing": ("--strength", "label_smoothing", *_SMOOTHING),
    "L2 + dropout": (*_LAMBDA, *_DROPOUT),
    "L1 + L2 + dropout + smoothing": (
        *(*_LAMBDA, *_DROPOUT, *_SMOOTHING),
        *("--search", "l1=1e-7..1e-2", "--proximal"),
    ),
    "AdamW's decay": (
        *("--optimizer", "adamw", "--weight-decay", "1e-3", "3", "--lr", "1e-4", "3e-2"),
    ),
}
SINGLE, COMBINED = list(METHODS)[1:6], list(METHODS)[6:8]

# Seeds of the choice and of the test begin here: none is a search's.
_FRESH_CHOICE, _FRESH_TEST = 2_000_000, 3_000_000

NOTE = """\
SimpleNet (128 units) on {tasks}: for each regulariser {n_studies} studies of {n_trials} trials and
{epochs} epochs (TPE, median pruner), each with a seed of its own: another split, another search,
the same ones for every regulariser. The {n_candidates} best trials of a study were trained on
{n_choosing} fresh seeds, and the best of them by validation on {n_testing} others, where its test
accuracy was measured, in percent: means over studies ± their standard error, and the difference to
no regularisation, paired by study. `label noise`: that share of the training labels is wrong."""


@dataclass(frozen=True)
class Task:
    """What is learnt, as options of a study."""

    name: str
    dataset: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Amounts:
    """How much is measured of each regulariser."""

    tasks: tuple[Task, ...]
    n_studies: int = 3
    n_trials: int = 16
    epochs: int = 30
    n_candidates: int = 2
    n_choosing: int = 2
    n_testing: int = 3
    first_seed: int = 40
    n_at_once: int = 2


_NOISE = ("--label-noise", "0.2")
TASKS = (
    Task("MNIST, 1,000 images", "mnist", ("--train-size", "1000")),
    Task("digits", "digits"),
    Task("breast cancer, label noise 0.2", "breast-cancer", (*_NOISE, "--batch-size", "32")),
    Task("wine, label noise 0.2", "wine", (*_NOISE, "--batch-size", "16")),
)
FULL = Amounts(TASKS)
QUICK = Amounts(TASKS[2:], 2, n_trials=4, epochs=3, n_choosing=1, n_testing=1)


def measure(setting: Setting, amounts: Amounts) -> Section:
    """Search, choose and score for all tasks, regularisers and studies, some at once."""
    seeds = range(amounts.first_seed, amounts.first_seed + amounts.n_studies)
    cases = list(itertools.product(amounts.tasks, METHODS, seeds))
    values: dict[tuple[str, str], list[float]] = {}
    with ThreadPoolExecutor(amounts.n_at_once) as pool:
        found = pool.map(lambda case: _study(setting, amounts, *case), cases)
        for done, ((task, method, _), value) in enumerate(zip(cases, found, strict=True), start=1):
            setting.announce(f"{task.name}, {method}: {done} of {len(cases)} studies")
            values.setdefault((task.name, method), []).append(100 * value)
    return build_section(amounts, values)


def _study(setting: Setting, amounts: Amounts, task: Task, method: str, seed: int) -> float:
    """Return the mean test accuracy of what a study finds."""
    name = f"{task.dataset}-{list(METHODS).index(method)}-{seed}"
    url = f"sqlite:///{setting.folder / name}.db"
    options = ["--study", name, "--dataset", task.dataset, *task.options, *METHODS[method]]
    options += ["--seed", str(seed), "--trials", str(amounts.n_trials), "--workers", "1"]
    tuner_run(setting, url, [*options, "--epochs", str(amounts.epochs)])
    storage = open_storage(url)
    loaded = load_study(storage, name)
    trials = [trial for trial in loaded.own_trials() if trial.state.name == "COMPLETE"]
    spec = loaded.spec
    storage.engine.dispose()
    best = sorted(trials, key=lambda trial: -(trial.value or 0.0))[: amounts.n_candidates]
    candidates = [trial.params for trial in best]
    seeds = range(_FRESH_CHOICE, _FRESH_CHOICE + amounts.n_choosing)
    scores = [_score(setting, spec, params, seeds, is_test=False) for params in candidates]
    chosen = candidates[scores.index(max(scores))]
    seeds = range(_FRESH_TEST, _FRESH_TEST + amounts.n_testing)
    return _score(setting, spec, chosen, seeds, is_test=True)


def _score(
    setting: Setting, spec: Spec, params: Params, seeds: Sequence[int], *, is_test: bool
) -> float:
    """Return the mean accuracy over fresh seeds, which are initialisations and orders."""
    import torch

    from objectives.alone import Beginning, train_alone

    torch.set_num_threads(1)
    config = spec.training_config(data_dir=setting.data_dir, device="cpu")
    found = []
    for seed in seeds:
        passes = range(seed * spec.epochs, (seed + 1) * spec.epochs)
        *_, last = train_alone(config, Beginning(params, seed), passes)
        found.append(last.test_value() if is_test else last.result.value)
    return statistics.fmean(found)


def build_section(amounts: Amounts, values: Mapping[tuple[str, str], Sequence[float]]) -> Section:
    """Return what was measured as a table, figures and raw data; accuracies in percent."""
    tasks = [task.name for task in amounts.tasks]
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
        figures=[_compare(task, values) for task in tasks],
        raw={task: {method: list(values[task, method]) for method in METHODS} for task in tasks},
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

    gains = [a - b for a, b in zip(best(COMBINED), best(SINGLE), strict=True)]
    return Figure(
        f"{task}: best combination less the best single regulariser",
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


def main(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes: small studies.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
    results_dir: Annotated[Path, typer.Option(help="Where results are written.")] = FOLDER,
) -> None:
    """Search each regulariser with the same budget, and score what is found."""
    amounts, started, machine = QUICK if quick else FULL, time.monotonic(), describe_machine()
    for task in amounts.tasks:
        load_training_data(task.dataset, seed=0, data_dir=data_dir)  # fetched once
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
    draw(section.raw, results_dir / f"{name}.png")
    for file in (*files, results_dir / f"{name}.png"):
        print(file)


if __name__ == "__main__":
    typer.run(main)
