"""What a coordinator has to know besides the study, which it reads from the storage."""

import logging
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from storage import LEASE_SECONDS, Retry, parse_url
from tuner.allowed import AllowedObjectives
from tuner.metrics import worker as metrics
from tuner.spec import Spec, find_given
from tuner.workers.devices import find_n_threads, parse_devices
from tuner.workers.engine_choice import EngineChoice
from tuner.workers.messages import FunctionWork, LaneWork, Seat
from tuner.workers.shutdown import Leaving


@dataclass(frozen=True)
class WorkerConfig:
    """A crew: where its study is, how many trainers it has, and what each of them may use."""

    storage_url: str = field(repr=False)  # may hold a password
    study_name: str
    data_dir: Path = Path("data")
    device: str = "auto"
    n_threads: int | None = None  # OMP_NUM_THREADS, or one
    n_lanes: int | None = None  # the program's best
    lease_seconds: float = LEASE_SECONDS
    patience_seconds: float = 600.0
    checkpoint_dir: Path | None = None
    allowed: AllowedObjectives | None = None  # None: whatever the named study names
    models_dir: Path | None = None  # where models are left for whoever scores them
    log_level: int = logging.INFO
    log_format: str = "text"
    n_trainers: int = 1
    engine: EngineChoice | None = None  # who places the crews of `tuner run`; None: it is one

    def retry(self, leaving: Leaving) -> Retry:
        """Return what waits for the study's database, as long as this process need not leave."""
        url = parse_url(self.storage_url)
        return Retry(
            url,
            self.patience_seconds,
            lambda: leaving.reason is not None,
            on_retry=metrics.count_retry,
        )

    def seat(self, slot: int) -> Seat:
        """Return where a trainer of the crew sits; raises UnknownNameError for a device."""
        return Seat(
            slot=slot,
            folder=os.getcwd(),
            environment=dict(os.environ),
            arguments=tuple(sys.argv),
            n_threads=find_n_threads(self.n_threads),
            devices=parse_devices(self.device),
            log_level=self.log_level,
            log_format=self.log_format,
            about={"study": self.study_name, "worker": worker_name()},
        )

    def lane_work(self, spec: Spec) -> LaneWork:
        """Return what trainers have to know of a study of a built-in objective."""
        return LaneWork(
            training=spec.training_config(data_dir=self.data_dir.absolute(), device=self.device),
            epochs=spec.epochs,
            has_fresh_seeds=spec.confirms is not None,
            n_lanes=self.n_lanes,
            patience=spec.patience,
            maximizes=spec.direction == "maximize",
            study_name=self.study_name,
            spec_hash=spec.hash,
            checkpoint_dir=self.checkpoint_dir,
            models_dir=self.models_dir,
        )

    def function_work(self, spec: Spec, study_id: int, directions: tuple[str, ...]) -> FunctionWork:
        """Return what trainers have to know of a study of a user's function."""
        given = find_given(spec.options)
        return FunctionWork(spec.objective, spec.seed, given, study_id, self.study_name, directions)


def worker_name() -> str:
    """Return how this process is called where its trials are shown."""
    return f"{socket.gethostname()}:{os.getpid()}"
