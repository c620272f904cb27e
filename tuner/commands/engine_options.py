"""The options that say who places the workers of `tuner run` and `tuner confirm`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.commands.options import option, with_options
from tuner.errors import UsageError

if TYPE_CHECKING:
    from tuner.workers.engine_choice import EngineChoice

_PANEL = "Other machines"

EngineName = Annotated[
    str,
    option(
        "--engine",
        "Who places the workers: local, or ray on a cluster's nodes.",
        metavar="NAME",
        rich_help_panel=_PANEL,
    ),
]
Address = Annotated[
    str,
    option(
        "--address",
        "The Ray cluster, e.g. 10.0.0.1:6379; auto: the one this machine belongs to.",
        metavar="HOST:PORT",
        rich_help_panel=_PANEL,
    ),
]
GpusPerWorker = Annotated[
    float,
    option(
        "--gpus-per-worker",
        "GPUs that each of Ray's workers is given; 0.25: four share one.",
        metavar="X",
        min=0,
        max=64,
        rich_help_panel=_PANEL,
    ),
]
CodeDir = Annotated[
    Path | None,
    option(
        "--code-dir",
        "Folder with your code that Ray brings to every node.",
        metavar="DIR",
        exists=True,
        file_okay=False,
        show_default="none: it is there",
        rich_help_panel=_PANEL,
    ),
]

_OPTIONS: dict[str, tuple[Any, Any]] = {
    "engine": (EngineName, "local"),
    "address": (Address, "auto"),
    "gpus_per_worker": (GpusPerWorker, 0.0),
    "code_dir": (CodeDir, None),
}

with_engine_options = with_options(_OPTIONS)


def read_choice(context: typer.Context) -> "EngineChoice":
    """Return what the options say of the engine; raises UsageError for one there is not."""
    from tuner.workers.engine_choice import ENGINES, LOCAL, EngineChoice

    given = context.params
    name = given["engine"]
    if name not in (LOCAL, *ENGINES):
        raise UsageError(f"--engine {name}: choose {' or '.join((LOCAL, *ENGINES))}")
    if name == LOCAL and (given["gpus_per_worker"] or given["code_dir"] is not None):
        raise UsageError("--gpus-per-worker and --code-dir are for --engine ray")
    return EngineChoice(name, given["address"], given["gpus_per_worker"], given["code_dir"])
