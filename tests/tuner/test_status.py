"""A searched study's status tells how far its confirmation is."""

import json
import re
from datetime import timedelta

import pytest
from optuna.trial import TrialState

from storage import (
    Claimant,
    QueuedTrial,
    create_storage,
    register_worker,
    set_queue,
    set_study_state,
)
from storage.claims import Seen, claim_trials
from tests.conftest import Cli
from tests.tuner.answers import trial
from tuner.report import load_status
from tuner.study import LoadedStudy, create_or_resume, open_confirmation

SECONDS = {TrialState.COMPLETE: 10, TrialState.PRUNED: 2}


@pytest.fixture
def searched(sqlite_url: str) -> LoadedStudy:
    """Return a study with a complete and a pruned trial."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", {}, n_trials=2)
    for state, seconds in SECONDS.items():
        finished = trial(0.9, 1e-3, state)
        assert finished.datetime_complete is not None
        finished.datetime_start = finished.datetime_complete - timedelta(seconds=seconds)
        loaded.study.add_trial(finished)
    return loaded


def _confirm(searched: LoadedStudy, n_trials: int) -> LoadedStudy:
    """Begin a confirmation, with one of its trials in training."""
    confirming = open_confirmation(searched)
    engine, study_id = confirming.storage.engine, confirming.study_id
    plan = [QueuedTrial(f"k{n}", {"lr": 0.1}, {"seed": n}) for n in range(n_trials)]
    set_queue(engine, study_id, plan, "no longer wanted")
    worker_id, _ = register_worker(engine, study_id, "host", 1)
    claim_trials(engine, Claimant(study_id, worker_id, 60), 1, Seen())
    return confirming


def test_status_without_a_confirmation_tells_of_none(searched: LoadedStudy) -> None:
    """Nor does that of a confirmation, which is not confirmed itself."""
    assert load_status(searched).confirmation_study is None
    assert load_status(_confirm(searched, 3)).confirmation_study is None


def test_status_tells_workers_of_one_host_name_and_process_id_apart(
    searched: LoadedStudy, call: Cli
) -> None:
    """Two containers may have the same: each worker is called by its id, too."""
    ids = [
        register_worker(searched.storage.engine, searched.study_id, "host", 1)[0] for _ in range(2)
    ]
    shown = call("status", "--storage", searched.storage.url, "--study", "s").stdout
    for worker_id in ids:
        assert re.search(rf"Worker {worker_id} +host:1 ", shown)


def test_status_tells_how_far_the_confirmation_is(searched: LoadedStudy, call: Cli) -> None:
    """As numbers and as a line; each of its trials takes as long as one that was not pruned."""
    confirming = _confirm(searched, 3)
    where = ("status", "--storage", searched.storage.url, "--study", "s")
    assert json.loads(call(*where, "--json").stdout)["confirmation_study"] == {
        "study": "s/confirm",
        "state": "open",
        "n_trials": 3,
        "n_finished": 0,
        "n_in_training": 1,
        "eta_seconds": 30,
    }
    line = "0 of 3 trials finished, 1 in training, ETA 30s (study s/confirm)"
    assert line in call(*where).stdout
    set_study_state(confirming.storage.engine, confirming.study_id, "paused")
    assert "0 of 3 trials finished, paused (study s/confirm)" in call(*where).stdout
