"""The commands that a running study's workers obey within an epoch: pause, resume and stop."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from tuner.commands import options
from tuner.commands.printing import tell
from tuner.serving import find_remote

if TYPE_CHECKING:
    from storage import StudyState

# By command: the state it sets, its help, and what it tells.
_COMMANDS: dict[str, tuple["StudyState", str, str]] = {
    "pause": (
        "paused",
        "Let all workers of a study wait after the epoch they are in, holding their trials.",
        "is paused: its workers wait; `tuner resume` lets them go on",
    ),
    "resume": (
        "open",
        "Let the workers of a paused study go on, and a stopped study be joined again.",
        "is open: waiting workers go on, new ones may join",
    ),
    "stop": (
        "stopped",
        "Let all workers of a study give their trials back and end.",
        "is stopped: its workers end; `tuner run` or `tuner resume` opens it again",
    ),
}


def add_state_commands(app: typer.Typer) -> None:
    """Add the three commands, which differ in their words only."""
    for name, (state, summary, told) in _COMMANDS.items():
        command = app.command(name, help=summary, epilog=f"Example: tuner {name} --study NAME")
        command(_command(name, state, told))


def _command(name: str, state: "StudyState", told: str) -> Callable[..., None]:
    @options.with_study
    def command(
        context: typer.Context, storage: str, study: str, as_json: options.Json = False
    ) -> None:
        if (remote := find_remote(context)) is not None:
            remote.set_state(study, name)
        else:
            _set_state(storage, study, state)
        document = {"study": study, "state": state}
        tell(document, f"Study {study!r} {told}", as_json=as_json, indent=None)

    return command


def _set_state(storage_url: str, study: str, state: "StudyState") -> None:
    from storage import open_storage, set_study_state
    from tuner.study import load_study

    loaded = load_study(open_storage(storage_url), study)
    set_study_state(loaded.storage.engine, loaded.study_id, state)
