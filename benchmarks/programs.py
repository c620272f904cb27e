"""Run no-op trials on a study, by plain Optuna and by a crew of ours, in a process of its own.

Both programs use TPE and the median pruner, and tell when each trial's objective was called.
"""

import contextlib
import functools
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from benchmarks import no_op
from benchmarks.history import fill_study
from objectives.functions import load_objective
from storage import create_storage, open_storage, parse_url
from tuner.study import create_or_resume
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

PLAIN, SERVICE = "plain Optuna", "lambda-tuner"
CREW_OF_8, CREW_OF_4 = f"{SERVICE}, crew of 8", f"{SERVICE}, crews of 4"

_OBJECTIVE = "benchmarks.no_op:objective"


def create_filled(program: str, url: str, study_name: str, n_finished: int) -> None:
    """Create the study as the program does it, with this many finished trials.

    A budget counts what its own workers finish, so the trials filled in are not in it.
    """
    _be_quiet()
    storage = create_storage(url)
    if program == PLAIN:
        study = optuna.create_study(storage=storage, study_name=study_name, direction="maximize")
        study_id = study._study_id
    else:
        options = {"objective": _OBJECTIVE}
        study_id = create_or_resume(storage, study_name, options, n_trials=1).study_id
    fill_study(storage.engine, study_id, n_finished)
    storage.engine.dispose()


@dataclass(frozen=True)
class Limit:
    """When the processes end: after so many trials in all of the study's life, or after a time.

    Plain Optuna knows no budget of a study: there ``n_new_trials`` counts for each process.
    """

    n_trials: int
    n_new_trials: int
    seconds: float | None = None


def grant(url: str, study_name: str, limit: Limit) -> None:
    """Let our workers work up to the limit."""
    storage = open_storage(url)
    create_or_resume(
        storage, study_name, {}, n_trials=limit.n_trials, timeout_seconds=limit.seconds
    )
    storage.engine.dispose()


def run_plain(url: str, study_name: str, limit: Limit) -> list[float]:
    """Run ``study.optimize`` on Optuna's own storage; return the starts of this call's trials."""
    _be_quiet()
    plain_url = parse_url(url).render_as_string(hide_password=False)
    study = optuna.load_study(
        storage=optuna.storages.RDBStorage(plain_url),
        study_name=study_name,
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.MedianPruner(),
    )
    function: Any = load_objective(_OBJECTIVE, os.getcwd())
    with _noting_starts() as starts:
        study.optimize(function, n_trials=limit.n_new_trials, timeout=limit.seconds)
    return starts


def run_service(url: str, study_name: str, _limit: Limit, n_trainers: int = 1) -> list[float]:
    """Be a crew until what was granted is spent; return the starts of this crew's trials."""
    _be_quiet()
    config = WorkerConfig(url, study_name, log_level=logging.WARNING, n_trainers=n_trainers)
    with _noting_starts() as starts:
        status = run_worker(config, Leaving())
    assert status == 0
    return starts


RUN: dict[str, Callable[[str, str, Limit], list[float]]] = {
    PLAIN: run_plain,
    SERVICE: run_service,
    CREW_OF_8: functools.partial(run_service, n_trainers=8),
    CREW_OF_4: functools.partial(run_service, n_trainers=4),
}


def _be_quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextlib.contextmanager
def _noting_starts() -> Iterator[list[float]]:
    """Yield a list that holds, after the block, when each trial's objective was called."""
    starts: list[float] = []
    with tempfile.NamedTemporaryFile() as file:
        os.environ[no_op.STARTS_FILE] = file.name
        try:
            yield starts
        finally:
            del os.environ[no_op.STARTS_FILE]
        starts += map(float, Path(file.name).read_text().split())
