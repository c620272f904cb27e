"""`tuner user`, `tuner token` and `tuner serve` as somebody at a terminal uses them."""

import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy

from storage import find_tokens, list_audit, note_use, open_storage, record_action
from tests.conftest import Cli, clean_environment

Type = Callable[[str], None]


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Return a function that says what the next command reads from stdin."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_user_is_added_changed_and_removed(call: Cli, type_in: Type, tmp_path: Path) -> None:
    """Passwords come by stdin and are never shown; each step is in the audit."""
    adding = ("user", "add", "ann", "--password-stdin", "--role", "operator", "--json")
    type_in("correct horse\n")
    added = call(*adding)
    assert json.loads(added.stdout) == {"name": "ann", "role": "operator"}
    type_in("correct horse\n")
    again = call(*adding)
    assert (again.returncode, again.stderr) == (1, "tuner: There is a user 'ann' already\n")
    assert call("user", "role", "ann", "--role", "admin").returncode == 0
    type_in("another horse\n")
    assert call("user", "passwd", "ann", "--password-stdin").returncode == 0
    (user,) = json.loads(call("user", "list", "--json").stdout)
    assert (user["name"], user["role"]) == ("ann", "admin")
    assert call("user", "remove", "ann").returncode == 0
    assert call("user", "remove", "ann").returncode == 1
    engine = open_storage(f"sqlite:///{tmp_path / 'tuner.db'}").engine
    entries = list_audit(engine)[::-1]
    assert [entry.action for entry in entries] == [
        "user add ann --role operator",
        "user role ann --role admin",
        "user passwd ann",
        "user remove ann",
    ]
    assert all(entry.actor.startswith("cli:") for entry in entries)


def test_first_account_closes_the_file_to_others(call: Cli, type_in: Type, tmp_path: Path) -> None:
    """Its owner is told, and how to open it again; who has done so is let be."""
    file = tmp_path / "tuner.db"
    file.touch(mode=0o664)
    type_in("correct horse\n")
    added = call("user", "add", "ann", "--password-stdin")
    assert added.stdout == "User 'ann' is viewer\n"
    assert added.stderr.startswith("tuner.db is closed to other users of this machine now")
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o660)
    assert call("token", "create").stderr == ""
    assert file.stat().st_mode & 0o777 == 0o660


def test_user_needs_a_role_that_exists_and_a_password_worth_the_name(
    call: Cli, type_in: Type, tmp_path: Path
) -> None:
    """Wrong usage is one line and status 2; without a terminal nothing is asked for."""
    for text, arguments, message in (
        ("correct horse\n", ("--role", "root", "--password-stdin"), "viewer, operator, admin"),
        ("short\n", ("--password-stdin",), "12 to 1024 characters"),
        ("", (), "use --password-stdin"),
    ):
        type_in(text)
        result = call("user", "add", "ann", *arguments)
        assert result.returncode == 2, result.stderr
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "tuner.db").exists()
    assert call("user", "role", "ann").returncode == 2


def test_token_is_shown_once_listed_and_revoked(call: Cli, tmp_path: Path) -> None:
    """A script gets the token and nothing else; the list has no secret."""
    plain = call("token", "create", "--role", "operator").stdout.strip()
    created = json.loads(
        call("token", "create", "--expires", "30d", "--name", "ci", "--json").stdout
    )
    assert (created["role"], created["expires_seconds"]) == ("viewer", 2592000)
    listed = call("token", "list", "--json").stdout
    assert [row["is_valid"] for row in json.loads(listed)] == [True, True]
    assert plain not in listed
    assert created["token"] not in listed
    engine = open_storage(f"sqlite:///{tmp_path / 'tuner.db'}").engine
    assert "valid until revoked, never used" in call("token", "list").stdout
    bearer = find_tokens(engine, [created["token"]])[created["token"]]
    note_use(engine, [bearer.use_to_note or 0])
    rows = json.loads(call("token", "list", "--json").stdout)
    assert [row["used_at"] is None for row in rows] == [True, False]
    assert call("token", "revoke", str(created["id"])).returncode == 0
    assert not find_tokens(engine, [created["token"]])
    assert "revoked" in call("token", "list").stdout


def test_log_shows_what_was_done_and_deletes_what_is_old(call: Cli, tmp_path: Path) -> None:
    """The newest first, nothing a terminal obeys, and no deletion without a trace."""
    assert call("token", "create").returncode == 0
    engine = open_storage(f"sqlite:///{tmp_path / 'tuner.db'}").engine
    record_action(engine, "user:ann", "200 PUT /\x9b2J", "10.0.0.1")
    shown = call("user", "log").stdout.splitlines()
    assert shown[0].endswith("  10.0.0.1        user:ann             200 PUT /?2J")
    assert re.search(r"token create \d+ --role viewer$", shown[1])
    (row,) = json.loads(call("user", "log", "--json", "--limit", "1").stdout)
    assert row["action"] == "200 PUT /\x9b2J"
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE tuner_audit SET at = at - 86400 WHERE actor = 'user:ann'")
        )
    kept = json.loads(call("user", "log", "--delete-older", "12h", "--json").stdout)
    assert kept[0]["action"] == "user log --delete-older 43200s: 1 deleted"
    assert [row["action"].split()[:2] for row in kept[1:]] == [["token", "create"]]


def test_serve_for_others_without_an_account_is_refused(call: Cli) -> None:
    """Status 2 and one line with the remedy."""
    result = call("serve", "--host", "0.0.0.0")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "`tuner user add NAME" in result.stderr


def test_serve_on_a_port_in_use_says_so_once(call: Cli) -> None:
    """A taken port is one line with the remedy, and the address in it once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = call("serve", "--port", str(port))
    assert result.returncode == 1
    assert result.stderr == (
        f"tuner: Cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another --host or --port\n"
    )


def test_port_as_kubernetes_sets_it_is_refused_with_the_remedy(call: Cli) -> None:
    """A Service called tuner makes Kubernetes put its address where the option looks."""
    result = call("serve", TUNER_PORT="tcp://10.96.0.7:8080")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "TUNER_PORT" in result.stderr
    assert "enableServiceLinks: false" in result.stderr


def test_help_and_tokens_do_not_load_the_service() -> None:
    """Help is quick, and tokens can be made where the service is not installed."""
    code = (
        "import sys, tuner.cli, tuner.commands.tokens; "
        "print([m for m in ('fastapi', 'uvicorn', 'a2wsgi', 'argon2', 'sqlalchemy', 'optuna')"
        " if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[]\n"
