"""The commands on people who may use the service: `tuner user add`, `list`, `passwd`, ...

A password is asked for, or read from stdin: others on the machine could see an argument.
"""

import getpass
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.commands.options import Json, with_storage
from tuner.commands.printing import tell
from tuner.commands.serve import check_extra
from tuner.commands.service_options import DeleteOlder, LogLimit, PasswordStdin, RoleName
from tuner.errors import UsageError
from tuner.plain import show

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from storage import AuditEntry, Role, Token, User

user_app = typer.Typer(
    help="Who may sign in to the service, with which role.",
    epilog="Example: tuner user add ann --role operator",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Name to sign in with.", metavar="NAME")]


@user_app.command(epilog="Example: tuner user add ann --role admin")
@with_storage
def add(
    name: Name,
    storage: str,
    role: RoleName = "viewer",
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Add a user; asks for the password twice."""
    from storage import create_user

    parsed = parse_role(role)
    password_hash = _ask_for_hash(is_piped=password_stdin)
    engine = open_for_account(storage)
    create_user(engine, name, password_hash, parsed)
    record(engine, f"user add {name} --role {role}")
    tell({"name": name, "role": role}, f"User {name!r} is {role}", as_json=as_json, indent=None)


@user_app.command("list", epilog="Example: tuner user list --json")
@with_storage
def list_(storage: str, as_json: Json = False) -> None:
    """Show all users with their roles."""
    from storage import list_users, open_storage

    rows = as_rows(list_users(open_storage(storage, read_only=True).engine))
    lines = [f"{row['name']:<24} {row['role']:<9} since {row['created_at']}" for row in rows]
    tell(rows, *(lines or ["There is no user: `tuner user add NAME` adds one"]), as_json=as_json)


@user_app.command(epilog="Example: tuner user remove ann")
@with_storage
def remove(name: Name, storage: str, as_json: Json = False) -> None:
    """Remove a user, whose sessions end at once."""
    from storage import open_storage, remove_user

    engine = open_storage(storage).engine
    remove_user(engine, name)
    record(engine, f"user remove {name}")
    tell({"name": name, "removed": True}, f"User {name!r} is removed", as_json=as_json, indent=None)


@user_app.command(epilog="Example: tuner user passwd ann")
@with_storage
def passwd(
    name: Name, storage: str, password_stdin: PasswordStdin = False, as_json: Json = False
) -> None:
    """Change a user's password; sessions of that user end at once."""
    from storage import open_storage, set_password_hash

    engine = open_storage(storage).engine
    set_password_hash(engine, name, _ask_for_hash(is_piped=password_stdin))
    record(engine, f"user passwd {name}")
    document = {"name": name, "changed": True}
    tell(document, f"User {name!r} has a new password", as_json=as_json, indent=None)


@user_app.command(epilog="Example: tuner user role ann --role operator")
@with_storage
def role(name: Name, role: RoleName, storage: str, as_json: Json = False) -> None:
    """Change a user's role, also in sessions that are open."""
    from storage import open_storage, set_role

    parsed = parse_role(role)
    engine = open_storage(storage).engine
    set_role(engine, name, parsed)
    record(engine, f"user role {name} --role {role}")
    tell({"name": name, "role": role}, f"User {name!r} is {role}", as_json=as_json, indent=None)


@user_app.command(epilog="Example: tuner user log --limit 20")
@with_storage
def log(
    storage: str, limit: LogLimit = 100, delete_older: DeleteOlder = None, as_json: Json = False
) -> None:
    """Show who did what, the newest first: each write, sign-in, change of users and tokens.

    Entries are kept until they are deleted; that is an entry too.
    """
    from storage import list_audit, open_storage, prune_audit

    engine = open_storage(storage, read_only=delete_older is None).engine
    if delete_older is not None:
        n_deleted = prune_audit(engine, delete_older)
        record(engine, f"user log --delete-older {delete_older:.0f}s: {n_deleted} deleted")
    rows = as_rows(list_audit(engine, limit))
    line = "{at}  {address:<15} {actor:<20} {action}"
    tell(rows, *(line.format(**row) for row in rows), as_json=as_json)


def parse_role(text: str) -> "Role":
    """Return the role of this name; raises UsageError."""
    from storage import Role

    try:
        return Role(text)
    except ValueError:
        raise UsageError(f"--role {text!r} is none: use {', '.join(Role)}") from None


def open_for_account(storage_url: str) -> "Engine":
    """Return an engine, with tables; an SQLite file without any account is closed to others."""
    from storage import close_to_others, create_storage, has_accounts, sqlite_file

    engine = create_storage(storage_url).engine
    file = sqlite_file(engine.url)
    if file is not None and not has_accounts(engine) and close_to_others(file):
        show(
            f"{file} is closed to other users of this machine now, since hashes of secrets stand "
            f"in it: `chmod g+rw {file}` if workers of others use it",
            file=sys.stderr,
        )
    return engine


def record(engine: "Engine", action: str) -> None:
    """Add what was done here to the audit."""
    from storage import record_action, who_am_i

    record_action(engine, f"cli:{who_am_i()}", action, "local")


def as_rows(entries: "Iterable[User | Token | AuditEntry]") -> list[dict[str, Any]]:
    """Return what is kept as plain data, with moments as people and programs read them, in UTC."""
    rows = [asdict(entry) for entry in entries]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float):
                row[name] = datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    return rows


def _ask_for_hash(*, is_piped: bool) -> str:
    """Return the hash of a password that is typed twice, or piped."""
    check_extra()
    from tuner.server.passwords import hash_password

    if is_piped:
        return hash_password(sys.stdin.readline().rstrip("\r\n"))
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask for the password: use --password-stdin")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UsageError("The two passwords differ")
    return hash_password(password)
