"""`tuner study copy`, `dump` and `load`: a study elsewhere is the same study."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from sqlalchemy import Table, select, text

from storage import (
    Claimant,
    change_budget,
    create_storage,
    open_storage,
    register_worker,
    sign_off_worker,
)
from storage.claims import Seen, claim_trials
from storage.schema import budgets, exports, workers
from tests import servers
from tests.conftest import Cli
from tests.tuner.confirmed import make_confirmed_study
from tuner.answer.record import is_same_answer
from tuner.study import LoadedStudy, create_or_resume, load_study, open_confirmation

NAMES = ("digits", "digits/confirm")
_KEYS = {"study_id", "trial_id", "export_id", "worker_id"}


@pytest.fixture
def mysql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of an empty MariaDB database."""
    with servers.new_database(request.getfixturevalue("mysql_server")) as url:
        yield url


def _make_study(url: str, call: Cli) -> None:
    """Make a confirmed study with all there is to lose: odd values, a gap, an order, a pin."""
    loaded = make_confirmed_study(url, n_trials=8, n_rungs=3)
    engine = loaded.storage.engine
    worker_id, _ = register_worker(engine, loaded.study_id, "host", 1)
    claim_trials(engine, Claimant(loaded.study_id, worker_id, 60), 1, Seen())
    loaded.study.tell(loaded.study.get_trials()[-1].number, 0.5)
    sign_off_worker(engine, worker_id)
    change_budget(
        engine, loaded.study_id, n_trials=11, timeout_seconds=3600, max_retries=5, priority=7
    )
    loaded.study.add_trial(create_trial(value=float("-inf"), intermediate_values={1: float("nan")}))
    loaded.study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "é \u0000"}))
    loaded.study.enqueue_trial({"lr": 0.1})
    with engine.begin() as connection:
        connection.execute(text("UPDATE trials SET number = 20 WHERE state = 'WAITING'"))
        # MariaDB keeps Optuna's moments to the second.
        for moment in ("datetime_start", "datetime_complete"):
            connection.execute(text(f"UPDATE trials SET {moment} = substr({moment}, 1, 19)"))
    for options in (["--rule", "best"], ["--pin", "0", "--reason", "mine"]):
        exported = call("export", "--study", "digits", *options, "--storage", url)
        assert exported.returncode == 0, exported.stderr


def _rows(loaded: LoadedStudy, table: Table) -> list[dict[str, Any]]:
    query = select(table).where(table.c.study_id == loaded.study_id).order_by(*table.primary_key)
    with loaded.storage.engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    return [{name: value for name, value in row.items() if name not in _KEYS} for row in rows]


def _describe(url: str, name: str) -> str:
    """Return everything of a study as text, which NaN is equal in, less ids."""
    loaded = load_study(open_storage(url), name)
    trials = [vars(each) for each in loaded.study.get_trials()]
    for each in trials:
        del each["_trial_id"]
        each["_user_attrs"] = sorted(each["_user_attrs"].items())
        each["_system_attrs"] = sorted(each["_system_attrs"].items())
    system_attrs = loaded.storage.get_study_system_attrs(loaded.study_id)
    attrs = [sorted(each.items()) for each in (loaded.study.user_attrs, system_attrs)]
    own = [_rows(loaded, table) for table in (budgets, workers, exports)]
    return "\n".join(map(str, [*trials, loaded.study.directions, *attrs, *own]))


@pytest.mark.db
def test_study_goes_round_all_databases_and_stays_equal(
    call: Cli, sqlite_url: str, postgres_url: str, mysql_url: str, tmp_path: Path
) -> None:
    """Trials, budget, spec, exports, pin and confirmation; the answer is the same document."""
    _make_study(sqlite_url, call)
    study = ("--study", "digits")
    file = str(tmp_path / "digits file.db")
    for command in (
        ("copy", *study, "--storage", sqlite_url, "--to", postgres_url),
        ("dump", *study, "--storage", postgres_url, "--file", file),
        ("load", "--file", file, "--storage", mysql_url),
    ):
        copied = call("study", *command, "--json")
        assert copied.returncode == 0, copied.stderr
        assert [each["study"] for each in json.loads(copied.stdout)["studies"]] == list(NAMES)
    urls = (sqlite_url, postgres_url, f"sqlite:///{file}", mysql_url)
    for name in NAMES:
        first, *others = (_describe(url, name) for url in urls)
        for other in others:
            assert other == first
    answers = [json.loads(call("export", *study, "--storage", url).stdout) for url in urls]
    assert answers[0]["pinned"]["reason"] == "mine"
    for answer in answers:
        assert is_same_answer(answer, answers[0])
        assert answer["provenance"]["version"] == 2


@pytest.mark.db
@pytest.mark.heavy
def test_study_that_the_target_has_is_refused_in_one_line(
    call: Cli, storage_url: str, tmp_path: Path
) -> None:
    """By its name or its confirmation's; nothing is copied, nor is the file touched."""
    file = tmp_path / "dumped.db"
    source = f"sqlite:///{tmp_path / 'source.db'}"
    loaded = create_or_resume(create_storage(source), "s", {"dataset": "digits"})
    open_confirmation(loaded)
    optuna.create_study(study_name="s/confirm", storage=create_storage(storage_url))
    copied = call("study", "copy", "--study", "s", "--storage", source, "--to", storage_url)
    assert (copied.returncode, copied.stdout, copied.stderr.count("\n")) == (2, "", 1)
    assert "holds a study 's/confirm' already: rename or delete it there first" in copied.stderr
    assert [s.study_name for s in open_storage(storage_url).get_all_studies()] == ["s/confirm"]
    file.write_bytes(b"mine")
    dumped = call("study", "dump", "--study", "s", "--storage", source, "--file", str(file))
    assert (dumped.returncode, dumped.stderr) == (
        2,
        f"tuner: {file} is there already: name another --file\n",
    )
    assert file.read_bytes() == b"mine"


def test_dump_of_a_study_that_is_not_there_leaves_no_file(call: Cli, tmp_path: Path) -> None:
    """Nor a part of one; a dump that worked leaves nothing beside its file."""
    assert call("create", "--study", "s", "--dataset", "digits").returncode == 0
    before = {path.name for path in tmp_path.iterdir()}
    missing = call("study", "dump", "--study", "t", "--file", "t.db")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert call("study", "dump", "--study", "s", "--file", "s.db").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == before | {"s.db"}


def test_password_of_the_target_is_read_from_a_file(call: Cli) -> None:
    """No password has to stand in a command, for `--to` either: what is there is read, as text."""
    to = ("--to", "postgresql://somebody@127.0.0.1:1/none")
    refused = call("study", "copy", *to, "--to-password-file", "missing")
    assert (refused.returncode, refused.stderr) == (
        2,
        "tuner: The storage's password file missing: No such file or directory\n",
    )
