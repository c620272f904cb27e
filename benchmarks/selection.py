"""Repeat whole studies, and see what choosing λ by fresh seeds is worth beside the best trial.

    python -m benchmarks.selection [--quick] [--data-dir data] [--results-dir DIR]

Each study is a `tuner run` with a seed of its own, so another split and another search. Its three
choices are then trained on seeds that neither search nor confirmation has seen, the same for all
three, and scored on the test set, which no study does with more than its own choices. Writes
``benchmarks/results/selection.*``; of ``--quick``, ``selection-quick.*``.
"""

import itertools
import math
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from benchmarks.commands import tuner_run
from benchmarks.databases import product
from benchmarks.machine import describe_machine
from benchmarks.results import FOLDER, Results, write_results
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting
from benchmarks.simulated import measure as simulated_studies
from objectives import Params
from objectives.datasets import load_training_data
from storage import open_storage
from tuner.confirmation.values import CONFIRMATION, Confirmation
from tuner.selection import get_best_trial
from tuner.spec import Spec
from tuner.study import load_study

Choice = Literal["best trial", "λ_min", "λ_1se"]
CHOICES: tuple[Choice, ...] = ("best trial", "λ_min", "λ_1se")

# Seeds of the test begin here: none is a search's or a confirmation's.
_FRESH = 3_000_000

# λ = 0 has no logarithm. It counts as a rung below the lowest.
_ZERO_COUNTS_AS = -5.375

# A trial reports once an epoch.
_EPOCHS = """
SELECT s.study_name, COUNT(*) FROM trial_intermediate_values v
JOIN trials t ON t.trial_id = v.trial_id JOIN studies s ON s.study_id = t.study_id
GROUP BY s.study_name
"""

NOTE = """\
{tasks}: studies of {n_trials} trials and {epochs} epochs (TPE, median pruner, λ in [1e-5, 1e-2],
learning rate in [1e-3, 1]), {n_studies} of each, every one with a seed of its own: another split,
another search. The choices were then trained on {n_seeds} fresh seeds, the same for all three, and
scored on the test set. The spread of λ is the standard deviation of log10 λ over studies, where
λ = 0 counts as a rung below the lowest. Accuracies are means over studies; differences to the best
trial are paired by study, ± their standard error over studies. Epochs are all that a choice took,
those of the search and of the confirmation, on average. A spread is called clearly smaller if it
is at most three quarters."""


@dataclass(frozen=True)
class Task:
    """What is studied."""

    name: str
    dataset: str
    train_size: int | None


@dataclass(frozen=True)
class Amounts:
    """How much is measured of each task."""

    tasks: tuple[Task, ...]
    n_studies: int = 10
    n_trials: int = 30
    epochs: int = 60
    n_fresh_seeds: int = 5
    first_seed: int = 20  # the method was made while looking at studies 0 to 9
    n_simulated: int = 200

    def spec(self, task: Task, seed: int) -> Spec:
        """Return the spec of the study with this seed."""
        return Spec(dataset=task.dataset, train_size=task.train_size, epochs=self.epochs, seed=seed)


DIGITS, MNIST = Task("digits", "digits", None), Task("MNIST, 1,000 images", "mnist", 1_000)
FULL = Amounts((DIGITS, MNIST))
QUICK = Amounts((DIGITS,), n_studies=2, n_trials=8, epochs=5, n_fresh_seeds=2, n_simulated=3)


@dataclass(frozen=True)
class Answer:
    """A study's answer, and the epochs that search and confirmation trained."""

    confirmation: Confirmation
    best_params: Params
    search_epochs: int
    confirm_epochs: int

    def params(self, choice: Choice) -> Params:
        """Return what a choice trains with."""
        confirmation = self.confirmation
        match choice:
            case "best trial":
                return self.best_params
            case "λ_min":
                candidate = confirmation.chosen("min").candidate
            case "λ_1se":
                candidate = confirmation.chosen("1se").candidate
        return candidate.params

    def epochs(self, choice: Choice) -> int:
        """Return how many epochs were trained to make a choice."""
        return self.search_epochs + (0 if choice == "best trial" else self.confirm_epochs)


@dataclass(frozen=True)
class Outcome:
    """A study's answer, and the mean test accuracy of each choice over fresh seeds."""

    answer: Answer
    accuracies: dict[Choice, float]


# What answers the study of a task with this seed.
Ask = Callable[[Setting, Amounts, Task, int], Answer]


def ask_tuner(setting: Setting, amounts: Amounts, task: Task, seed: int) -> Answer:
    """Answer by `tuner run`, as its users do, and read the answer from the database."""
    file, name = setting.folder / f"{task.dataset}-{seed}.db", "selection"
    options = [
        "--confirm",
        "--study",
        name,
        "--dataset",
        task.dataset,
        "--seed",
        str(seed),
        "--workers",
        "2",
    ]
    options += ["--trials", str(amounts.n_trials), "--epochs", str(amounts.epochs)]
    if task.train_size is not None:
        options += ["--train-size", str(task.train_size)]
    tuner_run(setting, f"sqlite:///{file}", options)
    storage = open_storage(f"sqlite:///{file}")
    loaded = load_study(storage, name)
    stored, best = loaded.study.user_attrs[CONFIRMATION], get_best_trial(loaded).params
    storage.engine.dispose()
    confirmation = Confirmation.model_validate(stored)
    with sqlite3.connect(file) as connection:
        epochs = dict(connection.execute(_EPOCHS).fetchall())
    connection.close()
    return Answer(confirmation, best, epochs[name], epochs[confirmation.study])


def measure(setting: Setting, amounts: Amounts, ask: Ask = ask_tuner) -> Section:
    """Repeat the studies of all tasks, and compare their choices."""
    outcomes: dict[Task, list[Outcome]] = {task: [] for task in amounts.tasks}
    for task, n in itertools.product(amounts.tasks, range(amounts.n_studies)):
        seed = amounts.first_seed + n
        setting.announce(f"{task.name}, study {n + 1} of {amounts.n_studies}")
        answer = ask(setting, amounts, task, seed)
        setting.announce(f"{task.name}, test of study {n + 1} of {amounts.n_studies}")
        outcomes[task].append(Outcome(answer, _score_choices(setting, amounts, task, answer, seed)))
    return build_section(amounts, outcomes)


def _score_choices(
    setting: Setting, amounts: Amounts, task: Task, answer: Answer, seed: int
) -> dict[Choice, float]:
    """Return each choice's mean test accuracy over fresh seeds, the same for every choice."""
    known: dict[tuple[float, float], float] = {}
    for choice in CHOICES:
        chosen = answer.params(choice)
        if tuple(chosen.values()) not in known:
            score = _score(setting, amounts, amounts.spec(task, seed), chosen)
            known[tuple(chosen.values())] = score
    return {choice: known[tuple(answer.params(choice).values())] for choice in CHOICES}


def _score(setting: Setting, amounts: Amounts, spec: Spec, chosen: Params) -> float:
    """Return the mean test accuracy over fresh seeds, which are initialisations and orders."""
    import torch

    from objectives.alone import Beginning, train_alone

    config = spec.training_config(data_dir=setting.data_dir, device="cpu")
    torch.set_num_threads(1)  # as in a worker; the steps are too small for more
    accuracies = []
    for fresh in range(_FRESH, _FRESH + amounts.n_fresh_seeds):
        passes = range(fresh * amounts.epochs, (fresh + 1) * amounts.epochs)
        *_, trained = train_alone(config, Beginning(chosen, fresh), passes)
        accuracies.append(trained.test_value())
    return statistics.fmean(accuracies)


def build_section(amounts: Amounts, outcomes: Mapping[Task, Sequence[Outcome]]) -> Section:
    """Return what came of the studies as a table, figures and raw data."""
    note = NOTE.format(
        tasks=" and ".join(task.name for task in outcomes),
        n_trials=amounts.n_trials,
        epochs=amounts.epochs,
        n_studies=amounts.n_studies,
        n_seeds=amounts.n_fresh_seeds,
    )
    summaries = [
        _summarise(task, choice, many) for task, many in outcomes.items() for choice in CHOICES
    ]
    return Section(
        title="What fresh seeds are worth",
        note=note,
        headings=("data", "choice", "spread of log10 λ", "test accuracy, %",
                  "beside the best trial, points", "epochs"),
        rows=[summary.row for summary in summaries],
        figures=_figures(summaries),
        raw={task.name: [_raw(outcome) for outcome in many] for task, many in outcomes.items()},
    )  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """What came of one choice over all studies of a task; accuracies in percent."""

    task: Task
    choice: Choice
    spread: float
    accuracy: float
    gain: float
    gain_error: float
    epochs: float

    @property
    def row(self) -> list[str]:
        """The cells of a table."""
        gain = "-" if self.choice == "best trial" else f"{self.gain:+.2f} ± {self.gain_error:.2f}"
        numbers = [f"{self.spread:.2f}", f"{self.accuracy:.2f}", gain, f"{self.epochs:.0f}"]
        return [self.task.name, self.choice, *numbers]


def _summarise(task: Task, choice: Choice, outcomes: Sequence[Outcome]) -> Summary:
    decays = [outcome.answer.params(choice)["weight_decay"] for outcome in outcomes]
    gains = [100 * (o.accuracies[choice] - o.accuracies["best trial"]) for o in outcomes]
    return Summary(
        task=task,
        choice=choice,
        spread=statistics.stdev(math.log10(x) if x else _ZERO_COUNTS_AS for x in decays),
        accuracy=100 * statistics.fmean(outcome.accuracies[choice] for outcome in outcomes),
        gain=statistics.fmean(gains),
        gain_error=statistics.stdev(gains) / math.sqrt(len(gains)),
        epochs=statistics.fmean(outcome.answer.epochs(choice) for outcome in outcomes),
    )


def _figures(summaries: Sequence[Summary]) -> list[Figure]:
    figures = []
    for best, largest in zip(summaries[::3], summaries[2::3], strict=True):
        name = best.task.name
        figures += [
            Figure(f"{name}: test accuracy of λ_1se less the best trial's", largest.gain, " points",
                   -round(largest.gain_error, 3), at_least=True),
            Figure(f"{name}: spread of λ_1se as a part of the best trial's",
                   largest.spread / (best.spread or math.inf), "", 0.75, at_least=False),
        ]  # fmt: skip
    return figures


def _raw(outcome: Outcome) -> dict[str, Any]:
    return {
        "search_epochs": outcome.answer.search_epochs,
        "confirm_epochs": outcome.answer.confirm_epochs,
        "test_accuracy": outcome.accuracies,
        "confirmation": outcome.answer.confirmation.model_dump(mode="json"),
    }


def main(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A minute: two small studies.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
    results_dir: Annotated[Path, typer.Option(help="Where results are written.")] = FOLDER,
) -> None:
    """Repeat whole studies, and see what choosing λ by fresh seeds is worth."""
    amounts, started, machine = QUICK if quick else FULL, time.monotonic(), describe_machine()
    for task in amounts.tasks:
        load_training_data(task.dataset, seed=0, data_dir=data_dir)  # fetched once
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("") as status:
        setting = Setting(quick, data_dir.resolve(), (), Path(folder), status.update)
        simulated = simulated_studies(amounts.n_simulated, status.update)
        section = measure(setting, amounts)
    results = Results(
        command=" ".join(["python -m benchmarks.selection", *sys.argv[1:]]),
        is_quick=quick,
        machine=machine,
        databases=dict([product(None)]),
        seconds=time.monotonic() - started,
        sections={"simulated": simulated, "selection": section},
    )
    for file in write_results(results, results_dir, "selection-quick" if quick else "selection"):
        print(file)


if __name__ == "__main__":
    typer.run(main)
