"""What was exported is kept in versions, none twice, on SQLite, PostgreSQL and MariaDB alike."""

import threading
import time
import uuid
from dataclasses import replace
from typing import Any

import optuna
import pytest
from sqlalchemy import Engine, text

from storage import (
    NewExport,
    create_budget,
    create_storage,
    find_last_export,
    list_exports,
    open_storage,
    record_export,
    who_am_i,
)

pytestmark = pytest.mark.db

NEW = NewExport(
    rule="1se",
    weight_decay=0.5,
    lr=0.25,
    value=0.75,
    mean=0.625,
    standard_error=0.125,
    trial=7,
    pinned_trial=None,
    reason="λ ← first",
    exported_by="a@b",
    document='{"λ": 0.5}',
)


@pytest.fixture
def study(shared_url: str) -> tuple[str, str, int]:
    """Return the URL, name and id of a new study with a budget and a complete trial."""
    storage = create_storage(shared_url)
    name = uuid.uuid4().hex
    made = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    made.tell(made.ask(), 0.9)
    study_id = storage.get_study_id_from_name(name)
    create_budget(storage.engine, study_id, 5)
    return shared_url, name, study_id


def _rows(engine: Engine, name: str) -> list[dict[str, Any]]:
    query = text("SELECT * FROM tuner_best WHERE study = :study")
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query, {"study": name}).mappings()]


def test_versions_are_counted_and_none_is_lost(study: tuple[str, str, int]) -> None:
    """Each answer is there as it was, with the moment by the database's clock."""
    url, _, study_id = study
    engine = open_storage(url).engine
    assert find_last_export(engine, study_id) is None
    first = record_export(engine, study_id, NEW, after=0)
    second = record_export(engine, study_id, replace(NEW, lr=None, reason="y" * 2000), after=1)
    assert first is not None
    assert second is not None
    assert list_exports(engine, study_id) == [first, second]
    assert find_last_export(engine, study_id) == second
    assert (first.version, second.version) == (1, 2)
    assert NewExport(**{name: getattr(first, name) for name in vars(NEW)}) == NEW
    assert len(second.reason) == 1000
    assert abs(first.exported_at - time.time()) < 60


def test_answer_is_not_recorded_over_one_that_was_not_seen(study: tuple[str, str, int]) -> None:
    """Whoever comes second is told, and has to look again."""
    url, _, study_id = study
    engine = open_storage(url).engine
    assert record_export(engine, study_id, NEW, after=0) is not None
    assert record_export(engine, study_id, NEW, after=0) is None
    assert record_export(engine, study_id, NEW, after=2) is None
    assert len(list_exports(engine, study_id)) == 1


def test_exporters_at_once_never_get_the_same_version(study: tuple[str, str, int]) -> None:
    """Of eight at the same moment one is the next; nobody fails."""
    url, _, study_id = study
    start = threading.Barrier(8)
    got: list[int | None] = []

    def compete() -> None:
        engine = open_storage(url).engine
        start.wait(200)
        recorded = record_export(engine, study_id, NEW, after=0)
        got.append(None if recorded is None else recorded.version)
        engine.dispose()

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert sorted(got, key=str) == [1, *[None] * 7]


def test_view_shows_the_last_export_in_place_of_the_best_trial(
    study: tuple[str, str, int],
) -> None:
    """Programs that read by SQL get the published answer; before it, the best trial."""
    url, name, study_id = study
    engine = open_storage(url).engine
    (before,) = _rows(engine, name)
    assert (before["rule"], before["value"], before["version"]) == ("best", 0.9, None)
    record_export(engine, study_id, replace(NEW, weight_decay=0.0), after=0)
    record_export(engine, study_id, replace(NEW, pinned_trial=7), after=1)
    (row,) = _rows(engine, name)
    assert abs(_seconds_ago(row.pop("exported_at"))) < 120
    assert row == {
        "study": name,
        "weight_decay": 0.5,
        "l2_penalty": 0.25,
        "lr": 0.25,
        "value": 0.75,
        "trial": 7,
        "direction": "maximize",
        "rule": "1se",
        "mean": 0.625,
        "standard_error": 0.125,
        "version": 2,
        "pinned_trial": 7,
    }


def test_view_has_no_textbook_penalty_where_the_answer_has_none(
    study: tuple[str, str, int],
) -> None:
    """What weight_decay is to a function nobody knows, so nothing is said of its half."""
    url, name, study_id = study
    engine = open_storage(url).engine
    unknown = replace(NEW, document='{"weight_decay": 0.5, "l2_penalty": null}')
    record_export(engine, study_id, unknown, after=0)
    (row,) = _rows(engine, name)
    assert (row["weight_decay"], row["l2_penalty"]) == (0.5, None)


def _seconds_ago(shown: object) -> float:
    moment = time.strptime(str(shown)[:19], "%Y-%m-%d %H:%M:%S")
    return time.time() - (time.mktime(moment) - time.timezone)


def test_new_study_with_the_id_of_a_deleted_one_has_no_answers(
    study: tuple[str, str, int],
) -> None:
    """SQLite reuses ids; the answers of another study must not be this one's."""
    url, _, study_id = study
    engine = open_storage(url).engine
    record_export(engine, study_id, NEW, after=0)
    create_budget(engine, study_id, 5)
    assert list_exports(engine, study_id) == []


def test_who_am_i_names_user_and_host() -> None:
    """A record says who it was in a way that people can ask."""
    user, at, host = who_am_i().partition("@")
    assert (bool(user), at, bool(host)) == (True, "@", True)
