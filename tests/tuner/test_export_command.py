"""`tuner export` as a person runs it: stdout holds the document alone, all else is on stderr."""

import json
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from optuna_dashboard import get_note
from sqlalchemy import text

from storage import create_storage
from tests.conftest import Cli
from tests.tuner.answers import OLD_ANSWER, confirm, make_study
from tuner.answer.export import SCHEMA_FILE
from tuner.answer.record import list_versions
from tuner.cli import app, main
from tuner.confirmation.values import CONFIRMATION, Confirmation
from tuner.pictures.figures import keep_in_study
from tuner.study import load_study


@pytest.fixture
def url(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a confirmed study; the command line finds it by its environment."""
    confirm(make_study(sqlite_url))
    monkeypatch.setenv("TUNER_STORAGE", sqlite_url)
    monkeypatch.setenv("TUNER_STUDY", "s's")
    monkeypatch.chdir(tmp_path)
    return sqlite_url


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """Run the command in this process; return what it wrote to stdout and stderr."""
    app(["export", *arguments], standalone_mode=False)
    written = capsys.readouterr()
    return written.out, written.err


@pytest.mark.usefixtures("url")
def test_stdout_is_the_document_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A program may read stdout whole; a person learns from stderr what was recorded."""
    out, err = _run(capsys)
    document = json.loads(out)
    jsonschema.validate(document, json.loads(SCHEMA_FILE.read_text()))
    assert (document["rule"], document["provenance"]["version"]) == ("1se", 1)
    assert err == "Recorded as version 1\n"
    assert _run(capsys, "--json")[1] == ""


def test_answer_of_an_older_version_is_still_shown(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its λ and learning rate, its verdict and its seeds, exported and on the dashboard."""
    loaded = load_study(create_storage(url), "s's")
    loaded.study.set_user_attr(CONFIRMATION, OLD_ANSWER)
    document = json.loads(_run(capsys)[0])
    assert (document["params"]["weight_decay"], document["params"]["lr"]) == (0.0, 0.3)
    assert document["evidence"]["verdict"]["text"] == OLD_ANSWER["verdict"]["text"]
    keep_in_study(loaded, Confirmation.model_validate(OLD_ANSWER))
    assert OLD_ANSWER["verdict"]["text"] in get_note(loaded.study)


@pytest.mark.usefixtures("url")
def test_pin_is_visible_wherever_the_answer_is(capsys: pytest.CaptureFixture[str]) -> None:
    """In the document, in other forms, in lines for a framework, and to who exports later."""
    out, err = _run(capsys, "--pin", "0", "--reason", "as\nbefore")
    assert json.loads(out)["pinned"]["reason"] == "as before"
    assert err.splitlines()[0].startswith("Pinned to trial 0 by ")
    assert "(as before), in place of rule 1se; --unpin removes it" in err
    for form, mark in {
        "yaml": "pinned:\n  trial: 0",
        "toml": "[pinned]\ntrial = 0",
        "env": "BEST_PINNED_TRIAL=0",
        "python": "PINNED = {'trial': 0",
        "torch": "# Pinned to trial 0 by ",
        "sklearn": "# Pinned to trial 0 by ",
    }.items():
        out, err = _run(capsys, "--format", form)
        assert mark in out
        assert "--unpin removes it" in err
    out, err = _run(capsys, "--unpin")
    assert (json.loads(out)["pinned"], err) == (
        None,
        "Recorded as version 2, in place of version 1\n",
    )
    assert _run(capsys, "--unpin")[1] == "Nothing has changed: this is version 2\n"


@pytest.mark.usefixtures("url")
def test_list_shows_who_replaced_what_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """For people a table, for programs the same as JSON."""
    assert _run(capsys, "--list", "--json") == ("[]\n", "")
    _run(capsys, "--rule", "min")
    _run(capsys, "--reason", "the usual rule")
    table, _ = _run(capsys, "--list")
    assert "the usual rule" in table
    rows = json.loads(_run(capsys, "--list", "--json")[0])
    assert [(r["version"], r["replaces"], r["rule"]) for r in rows] == [
        (1, None, "min"),
        (2, 1, "1se"),
    ]
    for name, value in rows[1]["params"].items():
        assert f"{name} {value:.4g}" in " ".join(table.split())


def test_schema_is_printed_without_a_database(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It belongs to the program, not to a study."""
    monkeypatch.chdir(tmp_path)
    out, _ = _run(capsys, "--schema")
    jsonschema.Draft202012Validator.check_schema(json.loads(out))


@pytest.mark.usefixtures("url")
def test_output_is_written_and_stdout_stays_empty(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As for shell redirection, but whole or not at all."""
    out, err = _run(capsys, "--format", "toml", "--output", "best.toml", "--rule", "best")
    assert (out, err.splitlines()[-1]) == ("", "Written to best.toml")
    assert tomllib.loads((tmp_path / "best.toml").read_text())["rule"] == "best"


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (["--rule", "median"], 2, "Unknown rule 'median': choose one of best, min, 1se"),
        (["--rule", "min"], 1, "Rule min needs fresh seeds"),
        (["--pin", "1", "--unpin"], 2, "--pin and --unpin contradict each other"),
        (["--pin", "1", "--list"], 2, "--pin and --unpin change the answer"),
        (["--pin", "7"], 2, 'Study "s\'s" has no trial 7: its last is 2'),
        (["--pin", "x"], 2, "(given: 'x')"),
        (["--format", "torch", "--optimizer", "adamw"], 2, "Add --force"),
        (["--format", "json", "--optimizer", "adamw"], 2, "is for --format torch"),
        (["--output", "missing/best.json"], 1, "Cannot write missing/best.json"),
        (["--study", "other"], 1, "There is no study 'other'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_records_nothing(
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    arguments: list[str],
    status: int,
    problem: str,
) -> None:
    """The line says what is wrong; the status is that of the README."""
    loaded = make_study(sqlite_url)
    shared = ["--storage", sqlite_url, "--study", "s's"]
    monkeypatch.setattr(sys, "argv", ["tuner", "export", *shared, *arguments])
    with pytest.raises(SystemExit) as ending:
        main()
    written = capsys.readouterr()
    assert (ending.value.code, written.out) == (status, "")
    (line,) = [x for x in written.err.splitlines() if x.startswith("tuner: ")]
    assert problem in line
    assert list_versions(loaded) == []


def test_run_records_its_export(call: Cli, sqlite_url: str, tmp_path: Path) -> None:
    """What `tuner run` writes is a version like any other."""
    loaded = make_study(sqlite_url)
    confirm(loaded)
    with loaded.storage.engine.begin() as connection:
        connection.execute(text("UPDATE tuner_budgets SET n_claimed = n_trials"))
    result = call("run", "--study", "s's", "--storage", sqlite_url, "--no-confirm")
    assert result.returncode == 0, result.stderr
    assert [row["version"] for row in list_versions(loaded)] == [1]
    written = json.loads((tmp_path / "best_lambda.json").read_text())
    assert (written["rule"], written["provenance"]["version"]) == ("1se", 1)
