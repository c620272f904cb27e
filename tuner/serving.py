"""Whether a command asks a `tuner serve` instead of a storage, by the options before it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tuner.bearer import read_token_file
from tuner.errors import UsageError

if TYPE_CHECKING:
    from tuner.remote import Remote

# What the API can do. The others need the database itself, or none.
COMMANDS = frozenset({"confirm", "create", "status", "trials", "export", "pause", "resume", "stop"})

_GIVEN = "COMMANDLINE"


def note_server(
    context: typer.Context,
    server: str | None,
    token: str | None,
    token_file: Path | None,
    *,
    insecure: bool,
) -> None:
    """Keep the service for the command that follows; raises UsageError if it cannot use one.

    A variable that is set for all commands keeps none of them from its storage.
    """
    command = context.invoked_subcommand
    if server is None or command not in COMMANDS:
        if _source(context, "server") == _GIVEN:
            known = ", ".join(sorted(COMMANDS))
            raise UsageError(f"--server is for {known}; `tuner {command}` needs the storage")
        return
    from tuner.remote import Remote

    if token_file is not None and (token is None or _source(context, "token_file") == _GIVEN):
        token = read_token_file(token_file)
    context.obj = Remote(server, token or None, insecure)


def find_remote(context: typer.Context) -> "Remote | None":
    """Return the service to ask; None for the storage. Raises UsageError if both are given."""
    remote: Remote | None = context.find_root().obj
    if remote is not None and _source(context, "storage") == _GIVEN:
        raise UsageError("--server and --storage contradict each other: leave one out")
    return remote


def _source(context: typer.Context, name: str) -> Any:
    source = context.get_parameter_source(name)
    return None if source is None else source.name
