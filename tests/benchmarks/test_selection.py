"""What the benchmark of selection makes of studies, and the worlds that it simulates them in."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.machine import describe_machine
from benchmarks.results import Results, write_results
from benchmarks.selection import Measured, build_sections, read_measured, summarise
from benchmarks.simulated import CHOICES, Outcome, simulate
from benchmarks.tasks import TASKS
from benchmarks.worlds import World
from tuner.confirmation.plan import Sizes

OUTCOME = Outcome(
    losses=dict(zip(CHOICES, (0.3, 0.1, 0.2), strict=True)),
    logs=dict.fromkeys(CHOICES, -4.0),
    verdict="does not matter",
    n_trainings=72,
    covers=(True, True, True, False),
)
OTHER = replace(
    OUTCOME,
    losses=dict(zip(CHOICES, (0.1, 0.1, 0.4), strict=True)),
    logs=dict.fromkeys(CHOICES, -2.0),
    verdict="edge",
    n_trainings=80,
)


def test_summary_has_losses_spread_verdicts_and_coverage() -> None:
    """Losses beside the best trial's are paired by study."""
    summary = summarise([OUTCOME, OTHER])
    assert (summary.n, summary.matters, summary.coverage) == (2, 0.5, 0.75)
    assert (summary.trainings, summary.most_trainings) == (76, 80)
    largest = summary.choices["λ_1se"]
    assert largest.loss == pytest.approx(0.3)
    assert largest.error == pytest.approx(0.1)
    assert largest.spread == pytest.approx(2**0.5)
    assert (largest.more, largest.more_error) == (pytest.approx(0.1), pytest.approx(0.2))


def test_results_go_on_where_they_were(tmp_path: Path) -> None:
    """What is read of the files is what was written, and figures are of real studies."""
    summary = summarise([OUTCOME, OTHER])
    kinds = dict.fromkeys(("simulated", "no gain", "three errors", "real"), summary)
    measured = {"mnist": Measured(0.02, 60.0, (OUTCOME, OTHER), kinds)}
    sections = build_sections(measured)
    results = Results(
        command="",
        is_quick=False,
        machine=describe_machine(),
        databases={},
        seconds=120.0,
        sections=sections,
    )
    write_results(results, tmp_path, "selection")
    assert read_measured(tmp_path / "selection.json") == measured
    losses = "0.200 ± 0.100 (0.28)", "0.100 ± 0.000 (0.10)", "0.300 ± 0.100 (0.38)"
    row = ["MNIST, 5 epochs", "2 real", *losses, "1.41 / 1.41 / 1.41", "76"]
    assert sections["choices"].rows[0] == row
    assert sections["checks"].rows == [["MNIST, 5 epochs", "0.02", *["50%"] * 4, "75.0%"]]


def test_world_gains_what_it_is_scaled_to() -> None:
    """With a gain of none λ = 0 is the best there is; with three errors there is more than that."""
    task = TASKS["digits"]
    nothing, world, much = (World("digits", task, errors) for errors in (0.0, None, 3.0))
    assert nothing.gain == pytest.approx(0)
    assert nothing.gain < world.gain < much.gain
    assert nothing.truth(1e-2, 1.0) == pytest.approx(world.truth(1e-2, 1.0))  # a loss stays


@pytest.mark.parametrize("name", ["digits", "regression"])
def test_simulated_study_is_scored_on_the_table(name: str) -> None:
    """Losses are below the table's best, whatever the metric's direction."""
    world = World(name, TASKS[name])
    outcome = simulate(world, 1, Sizes())
    assert outcome == simulate(world, 1, Sizes())
    assert -0.1 < outcome.losses["λ_min"] < 2
    assert 56 <= outcome.n_trainings <= 80
