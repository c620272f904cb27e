"""Run cases under plain Optuna, and under this project's own commands, in processes of their own.

Both sides use one database, so that what is compared is the runs and not the tables. A process that
a case ends is started again for the cases behind it.
"""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import optuna
from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage

from objectives.functions import load_objective
from objectives.seeds import derive_seed
from storage import set_study_state
from tests import forked
from tests.compatibility.case import Case
from tests.conftest import clean_environment
from tuner.study import LoadedStudy, create_or_resume

# What plain Optuna's studies are called.
REFERENCE = "Optuna: "
_SECONDS = 120.0
# Optuna's own, as a study here has them.
_PRUNERS = {"median": MedianPruner(), "asha": SuccessiveHalvingPruner(1), "none": NopPruner()}


def run_under_optuna(storage: RDBStorage, cases: list[Case], folder: Path) -> None:
    """Run each case with ``study.optimize``."""
    left = list(cases)
    while left:
        process = forked.context.Process(target=_optimize, args=(storage.url, left, folder))
        process.start()
        process.join(_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        names = optuna.get_all_study_names(storage)
        begun = [case for case in left if REFERENCE + case.name in names]
        assert begun, "plain Optuna did not even begin"
        left = left[len(begun) :]


def _optimize(url: str, cases: list[Case], folder: Path) -> None:
    os.chdir(folder)
    output = os.open(folder / "optuna.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(file, stream)
    os.environ.update(clean_environment())
    storage = optuna.storages.get_storage(url)
    for case in cases:
        study = optuna.create_study(
            storage=storage,
            study_name=REFERENCE + case.name,
            direction=case.direction,
            sampler=_sampler(case.sampler),
            pruner=_PRUNERS[case.pruner],
        )
        case.prepare(study)
        with contextlib.suppress(BaseException):
            study.optimize(
                load_objective(case.path, str(folder)), n_trials=case.n_trials, catch=(Exception,)
            )


def _sampler(name: str) -> BaseSampler:
    """Return Optuna's sampler with the seed that the first worker of a study has."""
    seed = derive_seed(0, "sampler") % 2**32
    return TPESampler(seed=seed) if name == "tpe" else RandomSampler(seed=seed)


def run_here(storage: RDBStorage, cases: list[Case], folder: Path) -> list[str]:
    """Run each case with a worker of all studies; return the names of those that ended one."""
    modules = sorted({case.path.partition(":")[0] for case in cases})
    allowed = [word for module in modules for word in ("--allow-objective", module)]
    for case in cases:
        case.prepare(create_here(storage, case).study)
    culprits: list[str] = []
    while True:
        Worker(storage.url, folder, "--exit-when-idle", *allowed).wait()
        left = [loaded for case in cases if (loaded := _find_open(storage, case)) is not None]
        if not left:
            return culprits
        culprits.append(left[0].name)
        set_study_state(storage.engine, left[0].study_id, "stopped")


def create_here(storage: RDBStorage, case: Case) -> LoadedStudy:
    """Create the study of a case, as `tuner create` does."""
    options = {
        "objective": case.path,
        "direction": case.direction,
        "sampler": case.sampler,
        "pruner": case.pruner,
    }
    return create_or_resume(storage, case.name, options, n_trials=case.n_trials, max_retries=0)


def _find_open(storage: RDBStorage, case: Case) -> LoadedStudy | None:
    """Return the study of a case that still has something to do."""
    loaded = create_here(storage, case)
    budget = loaded.load_budget()
    return loaded if budget.state == "open" and not budget.is_spent else None


class Worker:
    """A `tuner worker` in a process group of its own."""

    def __init__(self, url: str, folder: Path, *options: str) -> None:
        self._log = folder / "worker.log"
        arguments = ("worker", "--storage", url, "--lease", "10s", *options)
        self._tuner = forked.Tuner(arguments, folder, clean_environment(), self._log)

    def wait(self) -> int:
        """Return its exit status, once it has ended; it is killed if it takes too long."""
        try:
            return self._tuner.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            return -1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._tuner.pid, signal.SIGKILL)
