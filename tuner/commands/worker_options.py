"""The options of whoever trains, and the worker's configuration that they make."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.allowed import AllowedObjectives
from tuner.commands.options import LogFormat, option, parse_duration, with_options
from tuner.commands.service_options import AllowObjectives

if TYPE_CHECKING:
    from tuner.workers.config import WorkerConfig

DataDir = Annotated[
    Path, option("--data-dir", "Where data sets are kept, and downloaded to.", metavar="DIR")
]
Device = Annotated[
    str,
    option(
        "--device",
        "auto, cpu, mps, cuda:1, or several: cuda:0,cuda:2. Each worker gets one GPU.",
        metavar="NAME",
    ),
]
Threads = Annotated[
    int | None,
    option(
        "--threads",
        "Threads of each worker, for torch, OpenMP and MKL.",
        metavar="N",
        min=1,
        max=1024,
        show_default="OMP_NUM_THREADS, or 1",
    ),
]
Trainers = Annotated[
    int, option("--workers", "Processes that train.", metavar="N", min=1, max=1024)
]
Lanes = Annotated[
    int | None,
    option(
        "--lanes",
        "Trials that each worker trains side by side, as one batched program.",
        metavar="K",
        min=1,
        max=1024,
        show_default="4 on a CPU, 32 elsewhere",
    ),
]
Lease = Annotated[
    float,
    option(
        "--lease",
        "How long a worker may be silent before its trials are given to others, e.g. 60s.",
        metavar="DURATION",
        parser=parse_duration,
        show_default="60s",
    ),
]
Patience = Annotated[
    float,
    option(
        "--storage-patience",
        "How long a worker waits for a database that is away, e.g. 10m.",
        metavar="DURATION",
        parser=parse_duration,
        show_default="10m",
    ),
]
CheckpointDir = Annotated[
    Path | None,
    option(
        "--checkpoint-dir",
        "Where trials are kept after each epoch, so that a rerun goes on from there.",
        metavar="DIR",
        show_default="none",
    ),
]

# Of `tuner worker` alone: `tuner run` has several processes, and shows how far they are itself.
MetricsPort = Annotated[
    int,
    option(
        "--metrics-port",
        "Show this worker's metrics at this port, for Prometheus; 0: nowhere.",
        metavar="N",
        min=0,
        max=65535,
        show_default="0",
    ),
]
MetricsHost = Annotated[
    str,
    option(
        "--metrics-host",
        "Address of --metrics-port; whoever reaches it may read.",
        metavar="ADDRESS",
    ),
]

# By the command's parameter.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "data_dir": (DataDir, Path("data")),
    "device": (Device, "auto"),
    "threads": (Threads, None),
    "lanes": (Lanes, None),
    "lease": (Lease, 60.0),
    "storage_patience": (Patience, 600.0),
    "checkpoint_dir": (CheckpointDir, None),
    "log_format": (LogFormat, "text"),
    "allow_objective": (AllowObjectives, None),
}

with_worker_options = with_options(_OPTIONS)


def read_config(context: typer.Context, study: str, **more: Any) -> "WorkerConfig":
    """Return what the options say of a worker at a study; ``more`` are other fields of it."""
    from tuner.workers.config import WorkerConfig

    given = context.params
    return WorkerConfig(
        storage_url=given["storage"],
        study_name=study,
        data_dir=given["data_dir"],
        device=given["device"],
        n_threads=given["threads"],
        n_lanes=given["lanes"],
        lease_seconds=given["lease"],
        patience_seconds=given["storage_patience"],
        checkpoint_dir=given["checkpoint_dir"],
        log_format=given["log_format"],
        allowed=_read_allowed(given),
        **more,
    )


def _read_allowed(given: dict[str, Any]) -> AllowedObjectives | None:
    """Return which code a study may name; None, without a list, is what the named study names.

    Whoever types an objective has chosen it.
    """
    if not given["allow_objective"]:  # typer makes () of none
        return None
    chosen = {given["objective"]} if given.get("objective") else set()
    return AllowedObjectives(frozenset({*given["allow_objective"], *chosen}))
