"""Somebody has deleted a trial by SQL: the others keep their numbers, and are found by them."""

import json
import sqlite3
from contextlib import closing

import pytest

from storage import create_storage
from tests.conftest import Cli
from tests.tuner.answers import confirm, make_study, trial
from tuner.answer.document import build_document
from tuner.answer.record import Wish, publish
from tuner.errors import UsageError
from tuner.study import LoadedStudy, create_or_resume, load_study

_TABLES = ("trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes")


def _delete(url: str, number: int) -> None:
    """Delete a trial as people do."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        found = connection.execute("SELECT trial_id FROM trials WHERE number = ?", (number,))
        ((trial_id,),) = found
        for table in (*_TABLES, "trial_system_attributes", "trials"):
            connection.execute(f"DELETE FROM {table} WHERE trial_id = ?", (trial_id,))
        connection.commit()


def _load(url: str, name: str = "s") -> LoadedStudy:
    return load_study(create_storage(url), name)


def test_trial_is_found_by_its_number_and_one_that_is_gone_said_to_be(sqlite_url: str) -> None:
    """Neither the trial at its place nor an IndexError."""
    make_study(sqlite_url, "s")
    _delete(sqlite_url, 1)
    loaded = _load(sqlite_url)
    assert loaded.get_trial(2).params["weight_decay"] == 1e-4
    for number, told in ((1, "it was deleted?"), (3, "its last is 2")):
        with pytest.raises(UsageError, match=rf"Study 's' has no trial {number}: {told}"):
            loaded.get_trial(number)


def test_study_without_trials_has_none_of_any_number(sqlite_url: str) -> None:
    """The line does not speak of a last one."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", {}, n_trials=1)
    with pytest.raises(UsageError, match="has no trial 0: nor any"):
        loaded.get_trial(0)


def test_replay_scores_and_answer_go_on_after_a_deletion(call: Cli, sqlite_url: str) -> None:
    """The same trial is replayed, the best one scored and exported; new ones get new numbers."""
    where = {"TUNER_STORAGE": sqlite_url, "TUNER_STUDY": "s"}
    options = ["--dataset", "digits", "--train-size", "200", "--epochs", "2", "--pruner", "none"]
    assert call("create", *options, "--trials", "5", **where).returncode == 0
    assert call("worker", **where).returncode == 0
    trials = _load(sqlite_url).study.get_trials()
    best = max(trials, key=lambda one: (one.value or 0, -one.number)).number
    gone = 1 if best == 0 else 0
    before = call("train", "--trial", str(best), **where)
    _delete(sqlite_url, gone)
    assert call("train", "--trial", str(best), **where).stdout == before.stdout
    refused = call("train", "--trial", str(gone), **where)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"Study 's' has no trial {gone}: it was deleted?" in refused.stderr
    checked = call("storage", "check", **where)
    assert "4 trials are finished or in training: raise --trials by 1" in (checked.stderr)

    done = call("run", "--no-confirm", "--trials", "5", "--workers", "1", **where)
    assert done.returncode == 0, done.stderr
    exported = json.loads(call("export", **where).stdout)
    assert exported["provenance"]["trial"] == best
    assert 0 < exported["evidence"]["test_accuracy"] < 1
    assert exported["evidence"]["search_value"] == _load(sqlite_url).get_trial(best).value


def test_best_trial_that_is_deleted_is_followed_by_the_next(sqlite_url: str) -> None:
    """The answer of now; what fresh seeds said of the configuration stays."""
    confirm(make_study(sqlite_url, "s"))
    _delete(sqlite_url, 1)
    loaded = _load(sqlite_url)
    document = build_document(loaded, "best")
    assert (document["provenance"]["trial"], document["weight_decay"]) == (2, 1e-4)
    assert (document["evidence"]["mean"], document["evidence"]["test_accuracy"]) == (None, None)
    assert build_document(loaded, "1se")["weight_decay"] == 1e-3


def test_number_of_a_deleted_trial_that_is_given_again_inherits_nothing(sqlite_url: str) -> None:
    """What fresh seeds and the test set said was of another configuration."""
    loaded = make_study(sqlite_url, "s")
    loaded.study.add_trial(trial(0.98, 3e-4))
    measured = {"trial": 3, "value": 0.98, "accuracy": 0.965}
    loaded.study.set_user_attr("test", measured)
    confirm(loaded, search_trial=3, search_value=0.98)
    evidence = build_document(loaded, "best")["evidence"]
    assert (evidence["mean"], evidence["test_accuracy"]) == (0.961, 0.965)
    _delete(sqlite_url, 3)
    again = _load(sqlite_url)
    again.study.add_trial(trial(0.99, 5e-3))
    document = build_document(again, "best")
    assert (document["provenance"]["trial"], document["weight_decay"]) == (3, 5e-3)
    assert document["evidence"]["mean"] is document["evidence"]["test_accuracy"] is None


def test_pinned_trial_that_is_deleted_says_how_to_unpin(sqlite_url: str) -> None:
    """Nobody need remember that there was a pin."""
    publish(make_study(sqlite_url, "s"), Wish(pin=0))
    _delete(sqlite_url, 0)
    loaded = _load(sqlite_url)
    with pytest.raises(UsageError, match=r"has no trial 0: it was .*--unpin lets the rule"):
        publish(loaded)
    assert publish(loaded, Wish(unpin=True)).document["provenance"]["trial"] == 1
