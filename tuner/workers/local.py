"""Train a study here: one crew, with as many trainers as this machine can use, and its progress."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import joblib
from rich.console import Console

from tuner.report import show_progress
from tuner.study import LoadedStudy
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving


@dataclass(frozen=True)
class StudyRun:
    """A study to be trained, how, and who watches; ``n_workers`` is as many as suit, if None.

    ``on_tick`` is called a few times a second with the study as the crew sees it.
    """

    loaded: LoadedStudy
    config: WorkerConfig
    n_workers: int | None
    console: Console
    leaving: Leaving
    on_tick: Callable[[LoadedStudy], None] = lambda _: None


def train_locally(run: StudyRun) -> None:
    """Run a crew until it finds the budget spent or the study stopped.

    It has a trainer for each of the machine's physical cores, unless told. Raises as `run_worker`
    does, and Interrupted when asked to leave.
    """
    loaded, leaving = run.loaded, run.leaving
    retry = run.config.retry(leaving)
    budget = retry.call("read the budget", loaded.load_budget)
    n_trainers = run.n_workers or joblib.cpu_count(only_physical_cores=True)
    n_trainers = max(1, min(n_trainers, budget.n_trials - budget.n_finished))
    with show_progress(loaded, run.console) as show:

        def tick(view: LoadedStudy) -> None:
            retry.attempt(lambda: show(view), None)
            retry.attempt(lambda: run.on_tick(view), None)

        crew = replace(run.config, n_trainers=n_trainers)
        run_worker(crew, leaving, tick, loaded.storage)
        leaving.forget_study()  # a study that was stopped is no reason to end the process
        leaving.check()
