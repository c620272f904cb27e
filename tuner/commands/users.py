"""The commands on people who may use the service: `tuner user add`, `list`, `passwd`, ...

A part of the command line: prints, and leaves exit statuses of errors to `tuner.cli`. A password
is asked for, or read from stdin; never an argument, which other users of the machine could see.
"""

import getpass
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.commands import options, service_options
from tuner.commands.serve import check_extra
from tuner.errors import UsageError
from tuner.plain import show
from tuner.strict_json import to_json

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from storage import Role

user_app = typer.Typer(
    help="Who may sign in to the service, with which role.",
    epilog="Example: tuner user add ann --role operator",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Name to sign in with.", metavar="NAME")]


@user_app.command(epilog="Example: tuner user add ann --role admin")
@options.with_storage
def add(
    name: Name,
    storage: str,
    role: service_options.RoleName = "viewer",
    password_stdin: service_options.PasswordStdin = False,
    as_json: options.Json = False,
) -> None:
    """Add a user; asks for the password twice."""
    check_extra()
    from storage import create_storage, create_user
    from tuner.server.passwords import hash_password

    parsed = parse_role(role)
    password_hash = hash_password(_read_password(is_piped=password_stdin))
    engine = create_storage(storage).engine
    close_before_first_account(engine)
    create_user(engine, name, password_hash, parsed)
    record(engine, f"user add {name} --role {parsed}")
    _print({"name": name, "role": parsed}, f"User {name!r} is {parsed}", as_json=as_json)


@user_app.command("list", epilog="Example: tuner user list --json")
@options.with_storage
def list_(storage: str, as_json: options.Json = False) -> None:
    """Show all users with their roles."""
    from storage import list_users, open_storage

    users = list_users(open_storage(storage, read_only=True).engine)
    rows = [{"name": u.name, "role": u.role, "created_at": moment(u.created_at)} for u in users]
    if as_json:
        print(to_json(rows))
    elif not rows:
        print("There is no user: `tuner user add NAME` adds one")
    else:
        for row in rows:
            show(f"{row['name']:<24} {row['role']:<9} since {row['created_at']}")


@user_app.command(epilog="Example: tuner user remove ann")
@options.with_storage
def remove(name: Name, storage: str, as_json: options.Json = False) -> None:
    """Remove a user, whose sessions end at once."""
    from storage import open_storage, remove_user

    engine = open_storage(storage).engine
    remove_user(engine, name)
    record(engine, f"user remove {name}")
    _print({"name": name, "removed": True}, f"User {name!r} is removed", as_json=as_json)


@user_app.command(epilog="Example: tuner user passwd ann")
@options.with_storage
def passwd(
    name: Name,
    storage: str,
    password_stdin: service_options.PasswordStdin = False,
    as_json: options.Json = False,
) -> None:
    """Change a user's password; sessions of that user end at once."""
    check_extra()
    from storage import open_storage, set_password_hash
    from tuner.server.passwords import hash_password

    engine = open_storage(storage).engine
    set_password_hash(engine, name, hash_password(_read_password(is_piped=password_stdin)))
    record(engine, f"user passwd {name}")
    _print({"name": name, "changed": True}, f"User {name!r} has a new password", as_json=as_json)


@user_app.command(epilog="Example: tuner user role ann --role operator")
@options.with_storage
def role(
    name: Name, role: service_options.RoleName, storage: str, as_json: options.Json = False
) -> None:
    """Change a user's role, also in sessions that are open."""
    from storage import open_storage, set_role

    parsed = parse_role(role)
    engine = open_storage(storage).engine
    set_role(engine, name, parsed)
    record(engine, f"user role {name} --role {parsed}")
    _print({"name": name, "role": parsed}, f"User {name!r} is {parsed}", as_json=as_json)


@user_app.command(epilog="Example: tuner user log --limit 20")
@options.with_storage
def log(
    storage: str,
    limit: service_options.LogLimit = 100,
    delete_older: service_options.DeleteOlder = None,
    as_json: options.Json = False,
) -> None:
    """Show who did what, the newest first: each write, sign-in, change of users and tokens.

    Entries are kept until they are deleted; that is an entry too.
    """
    from storage import list_audit, open_storage, prune_audit

    engine = open_storage(storage, read_only=delete_older is None).engine
    if delete_older is not None:
        n_deleted = prune_audit(engine, delete_older)
        record(engine, f"user log --delete-older {delete_older:.0f}s: {n_deleted} deleted")
    rows = [{**asdict(entry), "at": moment(entry.at)} for entry in list_audit(engine, limit)]
    if as_json:
        print(to_json(rows))
        return
    for row in rows:
        line = f"{row['at']}  {row['address']:<15} {row['actor']:<20} {row['action']}"
        show(line)


def parse_role(text: str) -> "Role":
    """Return the role of this name; raises UsageError."""
    from storage import Role

    try:
        return Role(text)
    except ValueError:
        raise UsageError(f"--role {text!r} is none: use {', '.join(Role)}") from None


def close_before_first_account(engine: "Engine") -> None:
    """Leave an SQLite file that gets its first account to its owner, and say so."""
    from storage import close_to_others, has_accounts, sqlite_file

    file = sqlite_file(engine.url)
    if file is not None and not has_accounts(engine) and close_to_others(file):
        show(
            f"{file} is closed to other users of this machine now, since hashes of secrets stand "
            f"in it: `chmod g+rw {file}` if workers of others use it",
            file=sys.stderr,
        )


def record(engine: "Engine", action: str) -> None:
    """Add what was done here to the audit."""
    from storage import record_action, who_am_i

    record_action(engine, f"cli:{who_am_i()}", action, "local")


def moment(seconds: float) -> str:
    """Return a moment as people and programs read it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _read_password(*, is_piped: bool) -> str:
    if is_piped:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask for the password: use --password-stdin")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UsageError("The two passwords differ")
    return password


def _print(document: dict[str, object], sentence: str, *, as_json: bool) -> None:
    print(to_json(document, indent=None) if as_json else sentence)
