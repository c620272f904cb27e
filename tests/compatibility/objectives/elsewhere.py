"""A trial in other hands: threads, processes, copies."""

import concurrent.futures
import copy
import multiprocessing
import pickle
import threading
from typing import Any

import optuna

from tests.compatibility.objectives import note


def _suggest_there(trial: optuna.Trial) -> float:
    """Use a trial wherever it has been taken to."""
    x = trial.suggest_float("x", 0, 1)
    trial.report(x, 1)
    trial.set_user_attr("there", x)
    return x


def _put(trial: optuna.Trial, answers: Any) -> None:
    answers.put(_suggest_there(trial))


def _in_process(trial: optuna.Trial, method: str) -> float:
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    process = context.Process(target=_put, args=(trial, answers))
    process.start()
    x: float = answers.get(timeout=60)
    process.join(timeout=60)
    trial.set_user_attr("here", x)
    return x


def forked(trial: optuna.Trial) -> float:
    """A trial handed to a forked process, which suggests, reports and sets attributes."""
    return _in_process(trial, "fork")


def spawned(trial: optuna.Trial) -> float:
    """A trial handed to a spawned process."""
    return _in_process(trial, "spawn")


def in_process_pool(trial: optuna.Trial) -> float:
    """A trial sent to a pool of spawned processes."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_suggest_there, trial).result(timeout=60)


def in_thread(trial: optuna.Trial) -> float:
    """A trial handed to a thread."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(_suggest_there, trial).result(timeout=60)


def in_threads(trial: optuna.Trial) -> float:
    """A trial that eight threads report to and describe at the same time."""
    x = trial.suggest_float("x", 0, 1)
    start = threading.Barrier(8)

    def tell(number: int) -> None:
        start.wait(timeout=60)
        for step in range(5):
            trial.report(number + step / 10, number * 10 + step)
        trial.set_user_attr(f"thread {number}", number)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(tell, range(8)))
    note(trial, attributes=sum(f"thread {i}" in trial.user_attrs for i in range(8)))
    return x


def by_joblib_threads(trial: optuna.Trial) -> float:
    """A trial used by joblib's threads."""
    import joblib

    x: float = joblib.Parallel(n_jobs=2, backend="threading")(
        [joblib.delayed(_suggest_there)(trial)]
    )[0]
    return x


def by_joblib(trial: optuna.Trial) -> float:
    """A trial used by joblib's processes."""
    import joblib
    from joblib.externals.loky import get_reusable_executor

    x: float = joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(_suggest_there)(trial)])[0]
    get_reusable_executor().shutdown()  # or they would wait for more, and the end for them
    return x


def pickled(trial: optuna.Trial) -> float:
    """A trial that was pickled, and read again in the same process."""
    return _suggest_there(pickle.loads(pickle.dumps(trial)))


def copied(trial: optuna.Trial) -> float:
    """A trial that was copied, flat and deep."""
    flat, deep = copy.copy(trial), copy.deepcopy(trial)
    note(trial, same=(flat.number, deep.number) == (trial.number, trial.number))
    flat.set_user_attr("flat", 1)
    deep.set_user_attr("deep", 2)
    return trial.suggest_float("x", 0, 1)


def workers_of_its_own(trial: optuna.Trial) -> float:
    """A pool of processes that knows nothing of the trial, as data loaders start it."""
    x = trial.suggest_float("x", 0, 1)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        note(trial, squares=pool.map(_square, range(4)))
    return x


def _square(n: int) -> int:
    return n * n
