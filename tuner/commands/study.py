"""The commands that take a study elsewhere: `tuner study copy`, `tuner study dump` and `load`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.commands import options
from tuner.commands.printing import tell

if TYPE_CHECKING:
    from storage import Copied

study_app = typer.Typer(
    help="Copy a study to another database, or to a file and back.",
    epilog="Example: tuner study dump --study digits --file digits.db",
    no_args_is_help=True,
)

To = Annotated[
    str,
    options.option(
        "--to",
        "Database that a study is copied to, written as --storage.",
        metavar="URL",
        callback=options.fill_in_password("to_password_file"),
    ),
]
ToPasswordFile = Annotated[
    Path | None,
    options.option(
        "--to-password-file",
        "File with the password of --to.",
        metavar="FILE",
        show_default="none",
        is_eager=True,  # before --to
    ),
]
File = Annotated[
    Path,
    options.option("--file", "SQLite file that holds a study of its own.", metavar="FILE"),
]
OnlyStudyName = Annotated[
    str | None,
    options.option("--study", "Name of the study.", metavar="NAME", show_default="the only one"),
]


@study_app.command(epilog="Example: tuner study copy --to postgresql://user@host/tuner")
@options.with_study
def copy(
    to: To,
    storage: str,
    study: str,
    to_password_file: ToPasswordFile = None,
    as_json: options.Json = False,
) -> None:
    """Copy a study to another database: its trials, budget, spec, exports, pins, confirmation."""
    from storage import mask_url
    from tuner.copying import copy_study

    _tell(copy_study(storage, study, to), mask_url(to), as_json=as_json)


@study_app.command(epilog="Example: tuner study dump --study digits --file digits.db")
@options.with_study
def dump(file: File, storage: str, study: str, as_json: options.Json = False) -> None:
    """Copy a study to a new file, which every command takes as --storage sqlite:///FILE."""
    from tuner.copying import dump_study

    _tell(dump_study(storage, study, file), str(file), as_json=as_json)


@study_app.command(epilog="Example: tuner study load --file digits.db")
@options.with_storage
def load(
    file: File, storage: str, study: OnlyStudyName = None, as_json: options.Json = False
) -> None:
    """Copy a study from such a file to the storage."""
    from storage import mask_url
    from tuner.copying import load_dump

    _tell(load_dump(file, study, storage), mask_url(storage), as_json=as_json)


def _tell(copied: Sequence["Copied"], where: str, *, as_json: bool) -> None:
    lines = []
    for each in copied:
        given_back = f", {each.n_given_back} of them given back" if each.n_given_back else ""
        lines.append(f"Study {each.study!r} is in {where} now: {each.n_trials} trials{given_back}")
    tell({"to": where, "studies": [asdict(each) for each in copied]}, *lines, as_json=as_json)
