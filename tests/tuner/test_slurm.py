"""The array script for Slurm, handed to a real one."""

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import ROOT
from tests.servers import skip_or_fail
from tests.slurm import Slurm, explain_absence
from tests.tuner.conftest import FUNCTION, Crew, n_reporting, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]

SCRIPT = ROOT / "deploy" / "slurm" / "crew.sbatch"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Return a Slurm with one node."""
    if (reason := explain_absence()) is not None:
        skip_or_fail("slurm", reason)
    with Slurm() as slurm:
        yield slurm


@pytest.fixture
def submitting(
    slurm: Slurm, make_crew: Callable[[str], Crew], postgres_url: str
) -> Iterator[tuple[Crew, Callable[[], str]]]:
    """Return a study's folder, and a function that submits two crews to it."""
    crew = make_crew(postgres_url)
    command = crew.folder / "bin" / "tuner"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tuner "$@"\n')
    command.chmod(0o755)

    def submit() -> str:
        return slurm.run(
            *("sbatch", "--parsable", "--array=1-2", str(SCRIPT)),
            cwd=crew.folder,
            PATH=f"{command.parent}:{slurm.environment['PATH']}",
            PYTHONPATH=f"{ROOT}:{crew.folder}",
            TUNER_STUDY="s",
            TUNER_STORAGE=postgres_url,
        ).strip()

    yield crew, submit
    slurm.run("scancel", "--user=root")
    wait_until(lambda: not slurm.run("squeue", "--noheader"))


def test_crews_of_an_array_spend_the_budget_and_end(
    slurm: Slurm, submitting: tuple[Crew, Callable[[], str]]
) -> None:
    """Two jobs, five trials, each counted once; no job is left."""
    crew, submit = submitting
    loaded = crew.create(FUNCTION, n_trials=5)
    submit()
    wait_until(lambda: n_reporting(loaded) == 2)
    crew.finish()
    wait_until(lambda: not slurm.run("squeue", "--noheader"))
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased) == (5, 0)


def test_cancelled_crews_give_back(
    slurm: Slurm, submitting: tuple[Crew, Callable[[], str]]
) -> None:
    """What `scancel` sends is what the time limit and preemption send: SIGTERM."""
    crew, submit = submitting
    loaded = crew.create(FUNCTION, n_trials=5)
    job = submit()
    wait_until(lambda: n_reporting(loaded) == 2)
    slurm.run("scancel", job)
    wait_until(lambda: loaded.load_budget().n_leased == 0)
    assert loaded.load_budget().n_finished == 0
