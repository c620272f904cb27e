"""Every answer that is handed out is recorded, unless it is the last one; pins live there too."""

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from storage import open_storage, parse_url
from tests.tuner.answers import confirm, make_study, trial
from tuner.answer.record import Wish, last_document, list_versions, publish
from tuner.errors import NoResultError, TunerError, UsageError
from tuner.study import LoadedStudy, load_study


@pytest.fixture
def loaded(sqlite_url: str) -> LoadedStudy:
    """Return a study as `tuner export` opens it: for reading."""
    make_study(sqlite_url)
    return _open(sqlite_url)


def _open(url: str, name: str = "s's") -> LoadedStudy:
    return load_study(open_storage(url, read_only=True), name)


def _history(loaded: LoadedStudy) -> list[tuple[Any, ...]]:
    names = ("version", "replaces", "rule", "weight_decay", "pinned_trial", "reason")
    return [tuple(row[name] for name in names) for row in list_versions(loaded)]


def test_repeated_export_is_not_a_new_version(loaded: LoadedStudy) -> None:
    """Only another answer is; when and by whom it was written makes none."""
    first, again = publish(loaded), publish(loaded)
    assert (first.version, first.is_new) == (1, True)
    assert (again.version, again.is_new) == (1, False)
    assert last_document(loaded) == first.document


def test_other_answers_are_versions_with_what_changed(loaded: LoadedStudy) -> None:
    """A better trial, fresh seeds, a person's rule: each replaces the one before, and says why."""
    publish(loaded)
    loaded.study.add_trial(trial(0.98, 5e-4))
    publish(loaded)
    confirm(loaded, search_trial=3)
    publish(loaded)
    publish(loaded, Wish(rule="min", reason="for the paper"))
    confirm(loaded, search_trial=3, optimism=0.01)
    publish(loaded, Wish(rule="min"))
    assert _history(loaded) == [
        (1, None, "best", 2e-4, None, "first export"),
        (2, 1, "best", 5e-4, None, "weight_decay 0.0002 -> 0.0005"),
        (3, 2, "1se", 1e-3, None, "rule best -> 1se; weight_decay 0.0005 -> 0.001; lr 0.1 -> 0.2"),
        (4, 3, "min", 0.0, None, "for the paper"),
        (5, 4, "min", 0.0, None, "evidence: optimism"),
    ]


def test_pin_holds_for_everybody_until_it_is_removed(loaded: LoadedStudy) -> None:
    """Later exports, `tuner run`'s too, obey it, and it stays its author's."""
    publish(loaded)
    pinned = publish(loaded, Wish(pin=2, reason="as in the paper"))
    assert publish(loaded, Wish(pin=2)).document["pinned"] == pinned.document["pinned"]
    later = publish(loaded)
    assert (later.version, later.is_new, later.document["weight_decay"]) == (2, False, 1e-4)
    confirm(loaded)
    by_rule = publish(loaded, Wish(rule="min"))
    assert (by_rule.document["rule"], by_rule.document["pinned"]["trial"]) == ("min", 2)
    free = publish(loaded, Wish(unpin=True))
    assert (free.document["rule"], free.document["pinned"]) == ("1se", None)
    assert [row[4:] for row in _history(loaded)] == [
        (None, "first export"),
        (2, "as in the paper"),
        (2, "rule best -> min"),
        (None, "pin removed; rule min -> 1se; weight_decay 0.0001 -> 0.001; lr 0.1 -> 0.2"),
    ]


def test_pin_with_another_reason_is_a_new_version(loaded: LoadedStudy) -> None:
    """Why is a part of the answer."""
    publish(loaded, Wish(pin=2, reason="one"))
    assert publish(loaded, Wish(pin=2, reason="two")).version == 2


def test_export_that_fails_or_is_not_approved_is_not_recorded(loaded: LoadedStudy) -> None:
    """A refused form, and a rule that cannot be followed, leave no version."""

    def refuse(_document: object) -> None:
        raise UsageError("no")

    with pytest.raises(UsageError):
        publish(loaded, approve=refuse)
    with pytest.raises(UsageError):
        publish(loaded, Wish(pin=77))
    with pytest.raises(NoResultError):
        publish(loaded, Wish(rule="1se"))
    assert list_versions(loaded) == []


def test_exporters_of_the_same_answer_at_once_make_one_version(sqlite_url: str) -> None:
    """Whoever loses the race finds that its answer is there already."""
    make_study(sqlite_url)
    published = _at_once([lambda: publish(_open(sqlite_url))] * 6)
    assert [p.version for p in published] == [1] * 6
    assert sum(p.is_new for p in published) == 1


def test_exporters_of_different_answers_at_once_get_a_version_each(sqlite_url: str) -> None:
    """No version twice, and every answer is in the record as it was handed out."""
    confirm(make_study(sqlite_url))
    wishes = [Wish(rule="min"), Wish(rule="1se"), Wish(pin=0), Wish(pin=2), Wish(pin=1)]
    published = _at_once([lambda wish=wish: publish(_open(sqlite_url), wish) for wish in wishes])
    history = {row[0]: row[4] for row in _history(_open(sqlite_url))}
    assert sorted(history) == list(range(1, len(history) + 1))
    for one in published:
        assert one.version is not None
        assert history[one.version] == (one.document["pinned"] or {}).get("trial")
    # A rule never removes a pin, however they race.
    assert history[max(history)] is not None


def _forget(url: str) -> None:
    """Delete what was recorded, and close the file as the end of the last process does."""
    engine = create_engine(parse_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM tuner_exports"))


def _at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> None:
        start.wait(200)
        results.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert len(results) == len(calls)
    return results


@pytest.fixture
def frozen_url() -> Iterator[str]:
    """Return a study's file that this process may read only, in a folder where it may not write.

    Root may write everywhere, so it becomes somebody else for the time being.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, uid = Path(name), os.geteuid()
        url = f"sqlite:///{folder / 'tuner.db'}"
        make_study(url).storage.engine.dispose()
        loaded = _open(url)
        publish(loaded)  # imports what another user might not be able to
        loaded.storage.engine.dispose()
        _forget(url)
        (folder / "tuner.db").chmod(0o444)
        folder.chmod(0o555)
        if uid == 0:
            os.seteuid(65534)
        try:
            yield url
        finally:
            os.seteuid(uid)
            folder.chmod(0o755)


def test_file_that_may_only_be_read_is_exported_with_a_warning(
    frozen_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite cannot read such a file as it reads others; nothing is recorded."""
    published = publish(_open(frozen_url))
    assert (published.document["weight_decay"], published.version) == (2e-4, None)
    assert "attempt to write a readonly database" in caplog.text
    with pytest.raises(TunerError, match=r"pin cannot be recorded.*readonly"):
        publish(_open(frozen_url), Wish(pin=0))


@pytest.mark.db
def test_viewer_of_a_database_gets_the_answer_with_a_warning(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who may only read exports all the same, unrecorded; a pin that is not kept is an error."""
    make_study(postgres_url)
    owner, viewer = parse_url(postgres_url), "viewer_of_exports"
    try:
        _execute(
            owner,
            f"CREATE ROLE {viewer} LOGIN PASSWORD 'see'",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {viewer}",
        )
        url = owner.set(username=viewer, password="see").render_as_string(hide_password=False)
        loaded = _open(url)
        published = publish(loaded)
        assert published.document["weight_decay"] == 2e-4
        assert (published.version, published.is_new) == (None, False)
        (warning,) = [r.getMessage() for r in caplog.records if r.name == "tuner.answer.record"]
        assert "not recorded in the database" in warning
        assert "permission denied" in warning
        assert "see" not in warning.replace("seed", "")
        with pytest.raises(TunerError, match=r"pin cannot be recorded.*permission denied"):
            publish(loaded, Wish(pin=0))
        loaded.storage.engine.dispose()
    finally:
        _execute(owner, f"DROP OWNED BY {viewer}", f"DROP ROLE {viewer}")


def _execute(url: URL, *statements: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_recorded_document_is_whole(loaded: LoadedStudy) -> None:
    """The row alone is enough to know what was handed out."""
    document = publish(loaded).document
    with open_storage(loaded.storage.url).engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM tuner_exports")).mappings().one()
    provenance = {**document["provenance"], "version": None}
    assert json.loads(row["document"]) == {**document, "provenance": provenance}
    assert (row["rule"], row["value"], row["trial"]) == ("best", 0.97, 1)
    assert "@" in row["exported_by"]


def test_wish_that_changes_nothing_is_not_kept() -> None:
    """Only a pin is."""
    assert not Wish(rule="min", reason="x").changes_pin
    assert replace(Wish(), unpin=True).changes_pin
    assert replace(Wish(), pin=0).changes_pin
