"""Which engine places crews, and with what, as the command line says it."""

from dataclasses import dataclass
from pathlib import Path

# `local` is no engine's work: the command itself is then the crew, one process less to start.
LOCAL = "local"
# Others by name, which is that of the extra that installs them, too: an `Engine`'s class.
ENGINES = {"ray": "tuner.workers.launchers.ray:RayEngine"}


@dataclass(frozen=True)
class EngineChoice:
    """An engine by name, where its cluster is, and what each worker gets of it."""

    name: str
    address: str = "auto"
    gpus_per_worker: float = 0.0
    code_dir: Path | None = None  # sent to every node, for an objective of one's own
