"""How good a search is, by sampler, pruner and trials in flight: ``python -m benchmarks.search``.

    python -m benchmarks.search [--repetitions 50] [--jobs 2] [--results-dir benchmarks/results]

Nothing is trained: values and their noise by seed come from measured tables (benchmarks/tables),
samplers and pruners are the product's. Time goes by epochs: in each round every trial in flight
trains one, is pruned or ends, and others begin while the budget lasts; what has begun is finished.
Regret is the truth of the best configuration less that of what is chosen: λ_min, by a confirmation
on fresh seeds after the search, or the search's best trial.

Results are written after each repetition, and a later call goes on from those that are there: a
repetition takes about five minutes of a processor.
"""

import csv
import gzip
import itertools
import math
import multiprocessing
import statistics
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.progress import track

from benchmarks import worlds
from benchmarks.results import FOLDER, QUOTE_BEGIN, QUOTE_END
from benchmarks.section import FIGURE_HEADINGS, Figure, markdown_table
from benchmarks.simulated import confirm
from benchmarks.tasks import TASKS
from benchmarks.worlds import Begun, World
from tuner.confirmation.box import make_box
from tuner.confirmation.plan import Sizes
from tuner.confirmation.statistics import summarise
from tuner.samplers import make_pruner, make_sampler
from tuner.selection import find_best_trial
from tuner.spec import PrunerName, SamplerName, Spec

TABLES = {TASKS[name].title: name for name in ("mnist", "mnist_1000")}
SAMPLERS: tuple[SamplerName, ...] = ("random", "qmc", "tpe", "gp", "cmaes")
PRUNERS: tuple[PrunerName, ...] = ("none", "median", "asha", "hyperband")
IN_FLIGHT = (1, 8, 64, 256)
# Budgets, in the epochs of so many whole trainings.
BUDGETS = (40, 50, 100, 200)
CHOICES = {"confirmed": "λ_min", "best_trial": "the best trial"}
# A Gaussian process takes a second a suggestion: it is searched with less, and less often.
_GP_BUDGETS, _GP_SHARE = (40, 50), 5

NOTE = """\
`python -m benchmarks.search` ({n} searches a cell): nothing is trained, values and noise are drawn
from measured tables of learning rate, λ and seed; samplers, pruners and confirmation are the
product's. A cell has the regret of what is confirmed after the search (λ_min), in points of
accuracy below the table's best, ± its standard error; then that of the search's best trial; in
brackets what was trained, in whole trainings: what has begun is finished, and more in flight have
begun. A search with a Gaussian process (`gp`) is repeated a fifth as often, with the smaller
budgets alone. More than twice as many in flight as the budget has trainings are not looked at."""


@dataclass(frozen=True)
class Way:
    """How a table is searched."""

    table: str
    sampler: SamplerName
    pruner: PrunerName
    n_in_flight: int

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budgets that it is searched with."""
        return _GP_BUDGETS if self.sampler == "gp" else BUDGETS

    def count(self, repetitions: int) -> int:
        """Return how often it is searched, of so many repetitions."""
        return max(2, repetitions // _GP_SHARE) if self.sampler == "gp" else repetitions


@dataclass(frozen=True)
class Searched:
    """What a search came to with one budget; regrets are points below the best there is."""

    confirmed: float
    best_trial: float
    n_trials: int
    trainings: float  # epochs that were trained, in whole trainings

    @classmethod
    def read(cls, confirmed: str, best_trial: str, n_trials: str, trainings: str) -> "Searched":
        """Return what ``astuple`` has written."""
        return cls(float(confirmed), float(best_trial), int(n_trials), float(trainings))


# What a search came to, by budget.
Results = dict[int, Searched]
Found = dict[Way, list[Results]]  # of the seeds from 0 on
# What searches of one way came to with one budget.
Row = dict[str, Any]


def search(way: Way, seed: int) -> Results:
    """Search a table once; return what came of it, by budget."""
    world, rng = World(way.table, TASKS[way.table]), np.random.default_rng([seed, 3])
    spec = Spec(sampler=way.sampler, pruner=way.pruner, epochs=world.epochs[-1], seed=seed)
    study = optuna.create_study(
        direction=world.facts.metric.direction,
        sampler=make_sampler(spec),
        pruner=make_pruner(spec),
    )
    budget = max(way.budgets) * len(world.epochs)
    begun = worlds.search(world, study, rng, way.n_in_flight, lambda _, n_epochs: n_epochs < budget)
    trials = study.get_trials(deepcopy=False)
    return {n: _look_back(world, trials, begun, n, seed) for n in way.budgets}


def _look_back(
    world: World, trials: Sequence[FrozenTrial], begun: Sequence[Begun], budget: int, seed: int
) -> Searched:
    """Return what a search with this budget, in trainings, would have come to."""
    n_epochs = len(world.epochs)
    mine = [each for each in begun if each.after < budget * n_epochs]
    of_search = [trials[each.trial.number] for each in mine]
    best = find_best_trial(of_search, world.facts.metric.direction)
    assert best is not None  # nobody prunes the first trials
    confirmation, _ = confirm(world, make_box(of_search, world.facts), Sizes(), seed)
    chosen = confirmation.chosen("min").candidate.params
    return Searched(
        confirmed=round(world.best - world.truth(chosen["weight_decay"], chosen["lr"]), 4),
        best_trial=round(
            world.best - world.truth(best.params["weight_decay"], best.params["lr"]), 4
        ),
        n_trials=len(mine),
        trainings=round(sum(each.epoch for each in mine) / n_epochs, 2),
    )


def _search_quietly(task: tuple[Way, int]) -> Results:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return search(*task)


def find_ways() -> list[Way]:
    """Return all ways there are."""
    return [Way(*each) for each in itertools.product(TABLES.values(), SAMPLERS, PRUNERS, IN_FLIGHT)]


def measure(found: Found, repetitions: int, n_jobs: int) -> Iterator[None]:
    """Search each table in each way as often as is missing, with the same seeds.

    Puts into ``found`` what comes of it, and yields after each seed.
    """
    with ProcessPoolExecutor(n_jobs, multiprocessing.get_context("spawn")) as pool:
        for seed in range(repetitions):
            now = [way for way, done in found.items() if len(done) <= seed < way.count(repetitions)]
            if not now:
                continue
            done = pool.map(_search_quietly, [(way, seed) for way in now])
            title = f"search {seed + 1} of {repetitions}"
            bar = track(done, title, len(now), console=Console(stderr=True))
            for way, results in zip(now, bar, strict=True):
                found[way].append(results)
            yield


def read_results(file: Path) -> Found:
    """Return what was found before, by way; nothing where there is no file."""
    found: Found = {way: [] for way in find_ways()}
    if file.exists():
        with gzip.open(file, "rt", newline="") as stream:
            for table, sampler, pruner, n_in_flight, seed, budget, *values in csv.reader(stream):
                done = found[Way(table, sampler, pruner, int(n_in_flight))]  # type: ignore[arg-type]
                if len(done) == int(seed):
                    done.append({})
                done[-1][int(budget)] = Searched.read(*values)
    return found


def write_results(found: Found, file: Path) -> None:
    """Write a row for each search and budget: how, seed, budget, what it came to."""
    with gzip.open(file, "wt", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for way, many in found.items():
            for seed, results in enumerate(many):
                for budget, searched in results.items():
                    writer.writerow([*astuple(way), seed, budget, *astuple(searched)])


def tabulate(found: Found) -> list[Row]:
    """Return a row for each way and budget; a budget below half of what is in flight is none."""
    rows = []
    for way, many in found.items():
        for budget in way.budgets:
            if way.n_in_flight > 2 * budget:
                continue
            of_budget = [results[budget] for results in many]
            row: Row = {**asdict(way), "budget": budget, "searches": len(many)}
            for name in CHOICES:
                values = [getattr(each, name) for each in of_budget]
                row[name], row[f"{name}_error"] = summarise(values)
            for name in ("n_trials", "trainings"):
                row[name] = statistics.fmean(getattr(each, name) for each in of_budget)
            rows.append(row)
    return rows


def compare(rows: Sequence[Row]) -> list[Figure]:
    """Hold the defaults with 40 trainings' worth of epochs against random search with 100."""
    figures = []
    for title, table in TABLES.items():
        ours = _find(rows, table=table, sampler="tpe", pruner="median", budget=40)
        theirs = _find(rows, table=table, sampler="random", pruner="none", budget=100)
        for choice, name in CHOICES.items():
            error = math.hypot(ours[f"{choice}_error"], theirs[f"{choice}_error"])
            gap = ours[choice] - theirs[choice]
            text = f"{title}: {name}'s regret at 40, less random's at 100"
            figures.append(Figure(text, gap, " points", round(error, 3), at_least=False))
    return figures


def _find(rows: Sequence[Row], *, n_in_flight: int = 8, **facts: Any) -> Row:
    wanted = {**facts, "n_in_flight": n_in_flight}
    (row,) = (row for row in rows if wanted.items() <= row.items())
    return row


def write_text(rows: Sequence[Row]) -> str:
    """Return the results in Markdown: a table for each table of values and budget."""
    figures = markdown_table(FIGURE_HEADINGS, [figure.row for figure in compare(rows)])
    note = NOTE.format(n=max(row["searches"] for row in rows))
    blocks = ["# Search", QUOTE_BEGIN, figures, _summarise(rows), QUOTE_END, note]
    for (title, table), budget in itertools.product(TABLES.items(), BUDGETS):
        lines: dict[tuple[str, str], dict[int, str]] = {}
        for row in rows:
            if (row["table"], row["budget"]) == (table, budget):
                line = lines.setdefault((row["sampler"], row["pruner"]), {})
                line[row["n_in_flight"]] = _tell(row)
        blocks.append(f"## {title}, {budget} trainings' worth of epochs")
        headings = ("sampler", "pruner", *(f"{n} in flight" for n in IN_FLIGHT))
        cells = [[*way, *(line.get(n, "") for n in IN_FLIGHT)] for way, line in lines.items()]
        blocks.append(markdown_table(headings, cells))
    return "\n\n".join(blocks) + "\n"


def _summarise(rows: Sequence[Row]) -> str:
    """Return a table of the ways beside the default, 8 trials in flight: a regret a budget."""
    asked = list(itertools.product(TABLES.items(), (40, 100)))
    ways = [(name, "median") for name in SAMPLERS] + [("tpe", name) for name in PRUNERS]
    cells = []
    for sampler, pruner in dict.fromkeys(ways):
        line = [sampler, pruner]
        for (_, table), budget in asked:
            facts = {"table": table, "sampler": sampler, "pruner": pruner, "budget": budget}
            found = [row for row in rows if {**facts, "n_in_flight": 8}.items() <= row.items()]
            line += [_tell(row).partition(" (")[0] for row in found] or [""]
        cells.append(line)
    headings = [f"{title}: {budget}" for (title, _), budget in asked]
    return markdown_table(("sampler", "pruner", *headings), cells)


def _tell(row: Row) -> str:
    confirmed = f"{row['confirmed']:.2f} ± {row['confirmed_error']:.2f}"
    return f"{confirmed} / {row['best_trial']:.2f} ({row['trainings']:.0f})"


def draw(rows: Sequence[Row], file: Path, budget: int = 200) -> None:
    """Draw regrets against trials in flight: samplers above, pruners below, a column a table."""
    picture = Picture(figsize=(12, 8.5), layout="constrained")
    panels = picture.subplots(2, len(TABLES), squeeze=False, sharex=True)
    for column, (title, table) in enumerate(TABLES.items()):
        of_table = [row for row in rows if (row["table"], row["budget"]) == (table, budget)]
        _draw_lines(panels[0][column], of_table, "sampler", {"pruner": "median"})
        _draw_lines(panels[1][column], of_table, "pruner", {"sampler": "tpe"})
        panels[0][column].set_title(f"{title}, {budget} trainings' worth of epochs")
        panels[1][column].set_xlabel("trials in flight")
    for axes, what in zip(panels[:, 0], ("samplers, median pruner", "pruners, tpe"), strict=True):
        axes.set_ylabel(f"regret of λ_min, points\n({what})")
    picture.savefig(file, dpi=110)


def _draw_lines(axes: Axes, rows: Sequence[Row], by: str, facts: Row) -> None:
    for name in dict.fromkeys(row[by] for row in rows):
        line = [row for row in rows if row[by] == name and facts.items() <= row.items()]
        axes.errorbar(
            [row["n_in_flight"] for row in line],
            [row["confirmed"] for row in line],
            yerr=[row["confirmed_error"] for row in line],
            marker="o", capsize=3, label=name,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(IN_FLIGHT, [str(n) for n in IN_FLIGHT])
    axes.set_ylim(bottom=0)
    axes.legend()


def main(
    repetitions: Annotated[int, typer.Option(min=2, help="Searches a way and table.")] = 50,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    results_dir: Annotated[Path, typer.Option(help="Where results are written.")] = FOLDER,
) -> None:
    """Compare samplers, pruners and numbers of trials in flight, without training anything.

    Results are written after each repetition, so that a run may be ended when it is enough; another
    one goes on from there.
    """
    results_dir.mkdir(parents=True, exist_ok=True)
    file = results_dir / "search.csv.gz"
    found = read_results(file)
    for _ in measure(found, repetitions, jobs):
        write_results(found, file)
        publish(found, results_dir)
    publish(found, results_dir)
    print(results_dir / "search.md")


def publish(found: Found, folder: Path) -> None:
    """Write tables and picture, once an error can be told of each cell."""
    if min(map(len, found.values())) > 1:
        rows = tabulate(found)
        (folder / "search.md").write_text(write_text(rows))
        draw(rows, folder / "search.png")


if __name__ == "__main__":
    typer.run(main)
