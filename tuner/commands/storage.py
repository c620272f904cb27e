"""The commands on the database: `tuner storage check`, `upgrade`, `backup`, `restore`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.commands import options
from tuner.commands.printing import tell
from tuner.plain import show

if TYPE_CHECKING:
    from storage import StorageReport, Upgrade

CopyFile = Annotated[
    Path, typer.Argument(help="File that holds the copy, an SQLite database.", metavar="FILE")
]

storage_app = typer.Typer(
    help="Check the database, bring it to this version, copy it and put a copy back.",
    epilog="Example: tuner storage check --storage sqlite:///tuner.db",
    no_args_is_help=True,
)


@storage_app.command(epilog="Example: tuner storage check --storage sqlite:///tuner.db --json")
@options.with_storage
def check(storage: str, as_json: options.Json = False) -> None:
    """Show versions and contents of the database; exit 1 with a line for each problem."""
    from storage import check_storage

    report = check_storage(storage)
    tell(asdict(report), _describe(report), as_json=as_json)
    for problem in report.problems:
        show(f"tuner: {problem}", file=sys.stderr)
    raise typer.Exit(1 if report.problems else 0)


def _describe(report: "StorageReport") -> str:
    optuna = f"version {report.optuna_version}, newest {report.newest_optuna_version}"
    facts = {
        "Storage": report.url,
        "Server": f"{report.dialect} {report.server_version}",
        "Tables": f"version {report.version}, newest {report.newest_version}",
        "Optuna's tables": optuna,
        "Studies": report.n_studies,
        "Problems": len(report.problems) or "none",
    }
    return "\n".join(f"{name:<16} {fact}" for name, fact in facts.items())


@storage_app.command(epilog="Example: tuner storage upgrade --storage postgresql://user@host/tuner")
@options.with_storage
def upgrade(storage: str, as_json: options.Json = False) -> None:
    """Bring a database that an older version made to this one, or create one; stop its workers
    first.
    """
    from storage import mask_url, upgrade_storage

    upgraded = upgrade_storage(storage)
    document = {**asdict(upgraded), "was_current": upgraded.was_current}
    tell(document, f"Storage {mask_url(storage)} {_describe_upgrade(upgraded)}", as_json=as_json)


@storage_app.command(epilog="Example: tuner storage backup tuner-monday.db")
@options.with_storage
def backup(file: CopyFile, storage: str) -> None:
    """Copy an SQLite database to a new file, as it is at this moment; workers may go on."""
    from storage import back_up, mask_url

    back_up(storage, file)
    show(f"Storage {mask_url(storage)} was copied to {file}")


@storage_app.command(epilog="Example: tuner storage restore tuner-monday.db")
@options.with_storage
def restore(file: CopyFile, storage: str) -> None:
    """Put such a copy in the place of an SQLite database that nobody uses, which is kept."""
    from storage import mask_url, restore

    kept = restore(storage, file)
    show(f"Storage {mask_url(storage)} was restored from {file}")
    if kept is not None:
        show(f"What was there before is kept as {kept}")


def _describe_upgrade(upgraded: "Upgrade") -> str:
    before, after = upgraded.before, upgraded.after
    if upgraded.was_current:
        return f"is current: version {after.ours}, Optuna's tables {after.optuna}"
    if before is None:
        return f"was empty, has tables now: version {after.ours}, Optuna's {after.optuna}"
    changes = [
        f"{name} {old} -> {new}"
        for name, old, new in [
            ("version", before.ours, after.ours),
            ("Optuna's tables", before.optuna, after.optuna),
        ]
        if old != new
    ]
    if upgraded.views_were_missing:
        changes.append("views created")
    if upgraded.names_were_merged:
        changes.append("names compared as bytes")
    return f"was upgraded: {', '.join(changes)}"
