"""Train a study here: fetch its data once, start local workers, show how far they are."""

from collections.abc import Callable

import joblib
from rich.console import Console

from objectives.datasets import load_training_data
from tuner import launcher
from tuner.leaving import Leaving
from tuner.report import show_progress
from tuner.study import LoadedStudy
from tuner.worker import WorkerConfig


def train_locally(
    loaded: LoadedStudy,
    config: WorkerConfig,
    n_workers: int | None,
    on_tick: Callable[[], None],
    screen: tuple[Console, Leaving],
) -> None:
    """Run local workers until the budget is spent or the study is stopped.

    There are as many as the machine has physical cores, unless told. Raises as
    ``launcher.run_local_workers`` does.
    """
    console, leaving = screen
    spec = loaded.spec
    if not spec.is_function:
        # Fetches the data once, while torch is being imported (see `tuner.processes`).
        with leaving.interruptible():
            load_training_data(spec.dataset, seed=spec.seed, data_dir=config.data_dir)
    budget = config.retry(leaving).call("read the budget", loaded.load_budget)
    n_workers = n_workers or joblib.cpu_count(only_physical_cores=True)
    n_workers = min(n_workers, budget.n_trials - budget.n_finished)
    with show_progress(loaded, console) as show:

        def tick() -> None:
            show()
            on_tick()

        launcher.run_local_workers(loaded, config, n_workers, tick, leaving)
