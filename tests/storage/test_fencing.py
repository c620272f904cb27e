"""A database that has gone back hands out ids again; who lives from before writes nothing to it."""

import contextlib
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import text

from storage import RolledBackError, check_storage, find_leases_of, note_rollback
from storage import optuna_tables as tables
from storage.claims import Seen, claim_trials
from storage.fencing import show_alive
from storage.outbox import Outbox
from storage.schema import leases
from tests.storage.studies import WorkedStudy

pytestmark = pytest.mark.db


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a study with a worker that trains a trial."""
    return WorkedStudy(shared_url)


def _execute(study: WorkedStudy, *statements: str) -> None:
    with study.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), {"study": study.study_id})


def _forget_trials(study: WorkedStudy) -> None:
    """Take the database back to before the study's first trial; others may get its id."""
    _execute(
        study,
        "DELETE FROM tuner_leases WHERE study_id = :study",
        "DELETE FROM trials WHERE study_id = :study",
        "UPDATE tuner_budgets SET n_claimed = 0 WHERE study_id = :study",
    )


def _forget_workers(study: WorkedStudy) -> None:
    _execute(study, "DELETE FROM tuner_workers WHERE study_id = :study")


def test_lease_of_a_time_that_has_not_been_writes_nothing(study: WorkedStudy) -> None:
    """Not even where the trial of its id is in training by another lease, of the same worker."""
    outbox = Outbox(study.claimant.worker_id)
    (old,) = study.claim()
    outbox.hold(old.trial_id, old.lease_id)
    _forget_trials(study)
    with study.engine.begin() as connection:
        row = {"trial_id": old.trial_id, "study_id": study.study_id, "number": 0}
        connection.execute(tables.trials.insert().values(state=TrialState.RUNNING, **row))
        lease = {"lease_id": 7, "study_id": study.study_id, "trial_id": old.trial_id}
        row = {**lease, "worker_id": study.claimant.worker_id, "ends_at": 9e9}
        connection.execute(leases.insert().values(row))
    outbox.write(old.trial_id, tables.user_attrs, "by", tables.attr_row("by", "the dead"))
    outbox.end(old.trial_id, TrialState.COMPLETE, [6.0], tables.utc_now())
    outbox.flush(study.engine)
    assert outbox.pop_lost() == {old.trial_id}
    (trial,) = study.trials()
    assert (trial.state, trial.user_attrs, trial.values) == (TrialState.RUNNING, {}, None)
    assert [lease.lease_id for lease in find_leases_of(study.engine, row["worker_id"])] == [7]


def test_worker_that_the_database_does_not_know_claims_nothing(study: WorkedStudy) -> None:
    """No slot is taken; the sentence is one of ours, not a foreign key's."""
    _forget_workers(study)
    with pytest.raises(RolledBackError, match=r"has gone back to an earlier moment.*is dropped"):
        study.claim()
    assert study.budget().n_leased == 0


def test_worker_whose_last_trial_is_gone_claims_nothing(study: WorkedStudy) -> None:
    """It would number the next one anew, and take what comes for what it remembers."""
    claim = claim_trials(study.engine, study.claimant, 2, Seen())
    _forget_trials(study)
    with pytest.raises(RolledBackError, match="is gone"):
        claim_trials(study.engine, study.claimant, 1, claim.seen)
    assert study.trials() == []
    assert study.budget().n_leased == 0


def test_renewal_finds_that_an_earlier_one_has_not_been(study: WorkedStudy) -> None:
    """Each renewal follows the one before, or itself: an answer may get lost."""
    who = (study.engine, study.study_id, study.claimant.worker_id)
    for n_renewals in (1, 2, 2, 3):
        show_alive(*who, n_renewals)
    _execute(study, "UPDATE tuner_workers SET n_renewals = 1 WHERE study_id = :study")
    with pytest.raises(RolledBackError, match="what it said last"):
        show_alive(*who, 4)
    _forget_workers(study)
    with pytest.raises(RolledBackError):
        show_alive(*who, 1)


def test_worker_of_a_study_that_was_deleted_met_no_rollback(study: WorkedStudy) -> None:
    """Its workers went with it, and whoever reads the budget says so."""
    optuna.delete_study(study_name=study.name, storage=study.storage)
    show_alive(study.engine, study.study_id, study.claimant.worker_id, 1)


def test_check_finds_what_a_rollback_has_left(storage_url: str) -> None:
    """A worker's note, and a trial that is leased to another than trains it."""
    study = WorkedStudy(storage_url)
    study.study.set_user_attr("spec", {})
    (trial,) = study.claim()
    study.storage.set_trial_user_attr(trial.trial_id, "worker", "host:1#0")
    assert check_storage(storage_url).problems == []
    note_rollback(study.engine, study.name, "host:1")
    note_rollback(study.engine, "not there any more", "host:1")
    study.storage.set_trial_user_attr(trial.trial_id, "worker", "other:1")
    noted, strange = check_storage(storage_url).problems
    assert "worker host:1 found at " in noted
    assert "trial 0 is trained by other:1, but leased to host:1" in strange
    _execute(study, noted.rpartition("run SQL `")[2].rstrip("`"))
    assert check_storage(storage_url).problems == [strange]


def test_worker_begins_nothing_after_its_file_was_put_back(sqlite_url: str, tmp_path: Path) -> None:
    """By SQLite's own restore, into the file that it has open."""
    study = WorkedStudy(sqlite_url, n_trials=9)
    claim = claim_trials(study.engine, study.claimant, 1, Seen())
    file = sqlite_url.removeprefix("sqlite:///")
    with (
        contextlib.closing(sqlite3.connect(file)) as there,
        contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
    ):
        there.backup(copy)
        claim = claim_trials(study.engine, study.claimant, 1, claim.seen)
        copy.backup(there)
    other = study.join()
    (again,) = claim_trials(study.engine, other, 1, Seen()).trials
    assert again.trial_id == claim.trials[0].trial_id
    outbox = Outbox(study.claimant.worker_id)
    outbox.hold(again.trial_id, claim.trials[0].lease_id)
    outbox.end(again.trial_id, TrialState.COMPLETE, [6.0], tables.utc_now())
    outbox.flush(study.engine)
    assert study.states() == [TrialState.RUNNING] * 2
