"""Repeat whole studies, real and simulated, and score what they choose on tables of the truth.

    python -m benchmarks.selection [NAME ...] [--studies N] [--simulated N] [--data-dir data]

Real studies are a `tuner run` each, with a seed of its own, so another split and another search;
simulated ones draw their trainings from the table. Writes ``benchmarks/results/selection.*`` after
each study, and goes on with the real ones that are there: remove the files to begin anew.
"""

import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import optuna
import typer
from pydantic import TypeAdapter
from rich.console import Console

from benchmarks.commands import run_python
from benchmarks.databases import product
from benchmarks.machine import describe_machine
from benchmarks.results import FOLDER, Results, write_results
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting
from benchmarks.simulated import CHOICES, Outcome, score, simulate
from benchmarks.tasks import TASKS, Task
from benchmarks.worlds import World
from storage import open_storage
from tuner.confirmation.plan import Sizes
from tuner.confirmation.values import CONFIRMATION, Confirmation
from tuner.selection import get_best_trial
from tuner.study import load_study

# What the best λ gains in the world, in standard errors of the check; None: as in the table.
_KINDS: dict[str, float | None] = {"simulated": None, "no gain": 0.0, "three errors": 3.0}
_ORDER = ("real", *_KINDS)
_FIRST_SEED = 1000
_ENOUGH = 5  # real studies, for a mean and a spread that say anything

NOTE = """\
Studies of 50 trials (TPE, median pruner) with 10 fresh seeds to choose and 8 to check: `real` ones
by `tuner run`, each with a seed of its own, and simulated ones on measured tables of learning
rate, λ and seed (`python -m benchmarks.tabulate`). What each choice loses, in points (hundredths of
the squared error in the regression) below the best of the table's smooth mean: mean over studies ±
its standard error, and the 90th percentile; then of all three the standard deviation of log10 λ
over studies, where 0 counts as a rung below the lowest λ, and the trainings after the search."""

NOTE_CHECK = """\
How often it was said that λ matters: by real studies, by simulated ones, and by those simulated
where what λ gains in the table is scaled, so that the best λ gains nothing, or three standard
errors of the check. `gain` is what the best cell gains over the best without λ, by the table.
Coverage is that of the check's 95 % intervals, over all simulated studies and all that is
checked."""


@dataclass(frozen=True)
class Amounts:
    """How many studies of each kind a problem has."""

    real: int
    simulated: int


@dataclass(frozen=True)
class Worth:
    """What a choice is worth over studies of a kind; ``more`` is its loss less the best trial's."""

    loss: float
    error: float
    p90: float
    spread: float
    more: float
    more_error: float


@dataclass(frozen=True)
class Summary:
    """What came of studies of a kind: each choice's worth, and shares of verdicts and intervals."""

    n: int
    choices: dict[str, Worth]
    matters: float
    coverage: float
    trainings: float
    most_trainings: int


@dataclass(frozen=True)
class Measured:
    """What was measured of a problem; ``gain`` is that of its best λ by the table."""

    gain: float
    seconds: float
    real: tuple[Outcome, ...]
    summaries: dict[str, Summary]


def measure(
    name: str, setting: Setting, sizes: Amounts, real: Sequence[Outcome]
) -> Iterator[Measured]:
    """Repeat the studies of a problem, real ones after those there are; yield what is known after
    the simulated ones, and after each real one.
    """
    task, started, real = TASKS[name], time.monotonic(), tuple(real)
    world, summaries = World(name, task), {"real": summarise(real)} if real else {}
    for kind, errors in _KINDS.items():
        setting.announce(f"{task.title}, {sizes.simulated} studies, {kind}")
        scaled, seeds = World(name, task, errors), range(_FIRST_SEED, _FIRST_SEED + sizes.simulated)
        summaries[kind] = summarise([simulate(scaled, seed, Sizes()) for seed in seeds])
    while True:
        yield Measured(world.gain, time.monotonic() - started, real, dict(summaries))
        if len(real) >= sizes.real:
            break
        setting.announce(f"{task.title}, study {len(real) + 1} of {sizes.real}")
        real += (run_study(world, task, setting, _FIRST_SEED + len(real)),)
        summaries["real"] = summarise(real)


def run_study(world: World, task: Task, setting: Setting, seed: int) -> Outcome:
    """Answer by `tuner run`, as its users do, and score the answer that is in the database."""
    file = setting.folder / f"{seed}.db"
    given = {
        **task.options,
        "study": "selection",
        "seed": seed,
        "workers": 2,
        "storage": f"sqlite:///{file}",
        "data_dir": setting.data_dir,
        "output": setting.folder / "best.json",
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    run_python(setting, ["-m", "tuner", "run", *flags])
    storage = open_storage(f"sqlite:///{file}")
    loaded = load_study(storage, "selection")
    confirmation = Confirmation.model_validate(loaded.study.user_attrs[CONFIRMATION])
    best = get_best_trial(loaded).params
    n_trainings = len(load_study(storage, confirmation.study).study.get_trials(deepcopy=False))
    storage.engine.dispose()
    return score(world, best, confirmation, n_trainings)


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Return what came of studies of a kind, at least one."""
    covers = [is_in for outcome in outcomes for is_in in outcome.covers]
    n_trainings = [outcome.n_trainings for outcome in outcomes]
    return Summary(
        n=len(outcomes),
        choices={choice: _find_worth(choice, outcomes) for choice in CHOICES},
        matters=statistics.fmean(outcome.matters for outcome in outcomes),
        coverage=statistics.fmean(covers) if covers else 0.0,
        trainings=statistics.fmean(n_trainings),
        most_trainings=max(n_trainings),
    )


def _find_worth(choice: str, outcomes: Sequence[Outcome]) -> Worth:
    losses = [outcome.losses[choice] for outcome in outcomes]
    more = [outcome.losses[choice] - outcome.losses["best trial"] for outcome in outcomes]
    return Worth(
        *(statistics.fmean(losses), _spread(losses) / math.sqrt(len(losses))),
        p90=float(np.quantile(losses, 0.9)),
        spread=_spread([outcome.logs[choice] for outcome in outcomes]),
        more=statistics.fmean(more),
        more_error=_spread(more) / math.sqrt(len(more)),
    )


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def build_sections(measured: Mapping[str, Measured]) -> dict[str, Section]:
    """Return what came of the studies as tables, figures and raw data."""
    titles = {name: TASKS[name].title for name in measured}
    return {
        "choices": Section(
            "What a choice loses",
            NOTE,
            ("data", "studies", *CHOICES, "spread of log10 λ", "trainings"),
            [row for name, each in measured.items() for row in _loss_rows(titles[name], each)],
            [each for name in measured for each in _loss_figures(name, measured[name])],
            {name: asdict(each) for name, each in measured.items()},
        ),
        "checks": Section(
            "What the check says",
            NOTE_CHECK,
            ("data", "gain", *_ORDER, "coverage"),
            [_check_row(titles[name], each) for name, each in measured.items()],
            list(_check_figures([*measured.values()])),
        ),
    }


def _loss_rows(title: str, measured: Measured) -> Iterator[list[str]]:
    for kind in _ORDER[:2]:
        if (summary := measured.summaries.get(kind)) is None:
            continue
        every = summary.choices.values()
        losses = [f"{each.loss:.3f} ± {each.error:.3f} ({each.p90:.2f})" for each in every]
        spreads = " / ".join(f"{each.spread:.2f}" for each in every)
        if summary.n == 1:
            losses, spreads = [f"{each.loss:.3f}" for each in every], "-"
        yield [title, f"{summary.n} {kind}", *losses, spreads, f"{summary.trainings:.0f}"]


def _loss_figures(name: str, measured: Measured) -> Iterator[Figure]:
    """Return the figures of a problem's studies, of real ones where there are enough."""
    kind = "real" if len(measured.real) >= _ENOUGH else "simulated"
    summary = measured.summaries[kind]
    title = f"{TASKS[name].title}, {summary.n} {kind}"
    for choice in CHOICES[1:]:
        worth, label = summary.choices[choice], f"{title}: loss of {choice}"
        if name == "mnist":
            yield Figure(label, worth.loss, "", 0.05, at_least=False)
            yield Figure(f"{label}, 90th percentile", worth.p90, "", 0.15, at_least=False)
        elif name == "mnist_1000":
            yield Figure(label, worth.loss, "", 0.2, at_least=False)
            label = f"{title}: spread of log10 λ, {choice}"
            yield Figure(label, worth.spread, "", 0.47, at_least=False)
        else:
            label, error = f"{label} less the best trial's", round(worth.more_error, 3)
            yield Figure(label, worth.more, "", error, at_least=False)


def _check_row(title: str, measured: Measured) -> list[str]:
    found = [measured.summaries.get(kind) for kind in _ORDER]
    said = ["-" if each is None else f"{each.matters:.0%}" for each in found]
    return [title, f"{measured.gain:.2f}", *said, f"{_find_coverage(measured):.1%}"]


def _find_coverage(measured: Measured) -> float:
    return statistics.fmean(measured.summaries[kind].coverage for kind in _KINDS)


def _check_figures(measured: Sequence[Measured]) -> Iterator[Figure]:
    """Return how often the check is right, over all problems."""
    nothing, much = (
        100 * statistics.fmean(each.summaries[kind].matters for each in measured)
        for kind in _ORDER[2:]
    )
    covered = [100 * _find_coverage(each) for each in measured]
    most = max(each.most_trainings for one in measured for each in one.summaries.values())
    yield Figure("`matters` where λ gains three errors", much, " %", 80, at_least=True)
    label = "`does not matter` where λ gains nothing"
    yield Figure(label, 100 - nothing, " %", 95, at_least=True)
    yield Figure("coverage, lowest of a problem", min(covered), " %", 93, at_least=True)
    yield Figure("coverage, highest of a problem", max(covered), " %", 97, at_least=False)
    yield Figure("most trainings after a search", most, "", 80, at_least=False)


def read_measured(file: Path) -> dict[str, Measured]:
    """Return what results of before say; nothing if there are none."""
    if not file.exists():
        return {}
    raw = json.loads(file.read_text())["measurements"].get("choices", {})
    return TypeAdapter(dict[str, Measured]).validate_python(raw)


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(TASKS)}; all.")] = None,
    n_studies: Annotated[int, typer.Option("--studies", help="Real studies of each.")] = 10,
    n_simulated: Annotated[int, typer.Option("--simulated", help="Simulated ones.")] = 200,
    data_dir: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
    results_dir: Annotated[Path, typer.Option(help="Where results are written.")] = FOLDER,
) -> None:
    """Repeat whole studies, and see what choosing λ by fresh seeds is worth."""
    if unknown := {*(names or ())} - {*TASKS}:
        raise typer.BadParameter(f"{', '.join(unknown)}: choose {', '.join(TASKS)}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    machine, file = describe_machine(), results_dir / "selection.json"
    for name in names or TASKS:
        with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("") as status:
            setting = Setting(
                is_quick=False,
                data_dir=data_dir.resolve(),
                servers=(),
                folder=Path(folder),
                announce=status.update,
            )
            before = read_measured(file).get(name)
            real = before.real if before else ()
            for each in measure(name, setting, Amounts(n_studies, n_simulated), real):
                known = {**read_measured(file), name: each}
                ordered = {key: known[key] for key in TASKS if key in known}
                results = Results(
                    command="python -m benchmarks.selection",
                    is_quick=False,
                    machine=machine,
                    databases=dict([product(None)]),
                    seconds=sum(one.seconds for one in ordered.values()),
                    sections=build_sections(ordered),
                )
                write_results(results, results_dir, "selection")
    print(file)


if __name__ == "__main__":
    typer.run(main)
