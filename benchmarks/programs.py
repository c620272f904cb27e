"""Run no-op trials on a study, by plain Optuna and by a worker of ours, in a process of its own.

Both programs use TPE and the median pruner, and tell when each trial's objective was called.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import optuna

from benchmarks import no_op
from benchmarks.history import fill_study
from objectives.functions import load_function
from storage import create_storage, open_storage, parse_url
from tuner.leaving import Leaving
from tuner.study import create_or_resume
from tuner.worker import WorkerConfig, run_worker

PLAIN, SERVICE = "plain Optuna", "lambda-tuner"

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
    function = load_function(_OBJECTIVE)
    study.optimize(function, n_trials=limit.n_new_trials, timeout=limit.seconds)
    return _take_starts()


def run_service(url: str, study_name: str, _limit: Limit) -> list[float]:
    """Be a worker until what was granted is spent; return the starts of this worker's trials."""
    _be_quiet()
    config = WorkerConfig(url, study_name, log_level=logging.WARNING)
    status = run_worker(config, Leaving())
    assert status == 0
    return _take_starts()


RUN: dict[str, Callable[[str, str, Limit], list[float]]] = {
    PLAIN: run_plain,
    SERVICE: run_service,
}


def _be_quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _take_starts() -> list[float]:
    starts = no_op.started_at.copy()
    no_op.started_at.clear()
    return starts
