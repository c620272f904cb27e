"""A study survives kills, freezes and database crashes with exactly its budget."""

import random
from pathlib import Path

import pytest

from tests import servers
from tests.chaos.faults import FAULTS
from tests.chaos.harness import Plan, run


@pytest.mark.chaos
@pytest.mark.long
def test_study_under_faults_finishes_exactly_its_budget(tmp_path: Path) -> None:
    """Nothing lost, nothing twice, nothing left behind, whatever is killed, frozen or crashed."""
    if servers.find_postgres_programs() is None:
        servers.skip_or_fail("postgresql", "no PostgreSQL that can be started here")
    seed = random.randrange(1_000_000)
    outcome = run(Plan(tmp_path, seed, seconds=30))
    assert outcome.problems == [], f"seed {seed}\n{outcome.describe()}"
    assert set(outcome.faults) == set(FAULTS)
