"""How a worker opens a study: load it, start its trainers, and hear what they can train.

Imports neither torch nor anybody's module: trainers do.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from optuna.storages import RDBStorage

from objectives import ObjectiveError, ProblemFoundError
from storage import Retry, list_workers, open_storage
from tuner.errors import UsageError, WorkersFailedError
from tuner.spec import build_spec
from tuner.study import WHY_NOT, LoadedStudy, load_study, take_description
from tuner.workers.config import WorkerConfig
from tuner.workers.crew import Crew, Trainer
from tuner.workers.jobs import make_error
from tuner.workers.shutdown import Leaving

# How soon a signal is obeyed, and a trainer that is late is noticed.
TICK_SECONDS = 0.1
# So many trainers in a row that die before they are ready are no accident.
_MAX_DEAD_STARTS = 3


@dataclass(frozen=True)
class Opened:
    """A study that this process can train, before it has registered as its worker."""

    database: RDBStorage
    loaded: LoadedStudy
    crew: Crew


def open_study(
    config: WorkerConfig, retry: Retry, leaving: Leaving, database: RDBStorage | None = None
) -> Opened:
    """Load a study and start its trainers; raises as `run_worker`, and NotAllowedError.

    Returns when the first trainer is ready: what one cannot open, say for want of data, no worker
    here can train.
    """
    database = database or retry.call("open it", lambda: open_storage(config.storage_url))
    loaded = retry.call("load the study", lambda: load_study(database, config.study_name))
    if config.allowed is not None:
        config.allowed.check(loaded.spec.objective)
    try:
        loaded, crew = _look_and_start(config, loaded, retry, leaving)
    except (ObjectiveError, UsageError) as error:
        retry.call("note why not", partial(note_why_not, loaded, str(error)))
        raise
    return Opened(database, loaded, crew)


def _look_and_start(
    config: WorkerConfig, loaded: LoadedStudy, retry: Retry, leaving: Leaving
) -> tuple[LoadedStudy, Crew]:
    """Return a study, described if its objective is found to be a problem, and its crew."""
    try:
        return loaded, _start_crew(config, loaded, leaving)
    except ProblemFoundError as found:  # its study was created where nobody could look
        described = partial(take_description, loaded, found)
        loaded = retry.call("store what the problem says of itself", described)
        return loaded, _start_crew(config, loaded, leaving)


def note_why_not(loaded: LoadedStudy, why_not: str | None) -> None:
    """Leave for who asks for the study's status why this worker does not train it; nothing while
    others do.
    """
    with contextlib.suppress(KeyError):  # deleted meanwhile
        if loaded.storage.get_study_user_attrs(loaded.study_id).get(WHY_NOT) == why_not:
            return
        others = list_workers(loaded.storage.engine, loaded.study_id) if why_not else []
        if all(worker.is_lost for worker in others):
            loaded.storage.set_study_user_attr(loaded.study_id, WHY_NOT, why_not)


def _start_crew(config: WorkerConfig, loaded: LoadedStudy, leaving: Leaving) -> Crew:
    """Return a crew whose first trainer is ready; raises what that could not open."""
    if loaded.spec.is_function:
        directions = tuple(direction.name for direction in loaded.study.directions)
        work: object = config.function_work(loaded.spec, loaded.study_id, directions)
    else:
        work = config.lane_work(loaded.spec)
    leaving.check()
    crew = Crew.start(config.seat, work, config.n_trainers)
    try:
        while not any(trainer.is_ready for trainer in crew.trainers):
            leaving.check()
            crew.start_due()
            _hear_who_is_ready(crew, crew.wait(TICK_SECONDS))
        if loaded.spec.is_function:  # kept for a problem, which it is not
            build_spec(loaded.spec.options)
    except BaseException:
        crew.end(in_good_order=False)
        raise
    return crew


def _hear_who_is_ready(crew: Crew, trainers: Sequence[Trainer]) -> None:
    for trainer in trainers:
        assert trainer.process is not None
        for kind, *arguments in trainer.process.channel.receive():
            hear_opening(trainer, kind, arguments)
        if trainer.process.has_ended:
            check_start(trainer)
            crew.note_end(trainer)


def hear_opening(trainer: Trainer, kind: str, arguments: list[Any]) -> None:
    """Take what a trainer says of its start; raises what it could not open."""
    if kind == "ready":
        trainer.n_lanes, trainer.program, trainer.code = arguments
    elif kind == "refused":
        raise make_error(*arguments)
    elif kind == "problem":
        raise ProblemFoundError(*arguments)


def check_start(trainer: Trainer) -> None:
    """Raise WorkersFailedError if trainers die again and again before they are ready."""
    assert trainer.process is not None
    if trainer.n_lanes == 0 and trainer.n_deaths_in_row + 1 >= _MAX_DEAD_STARTS:
        raise WorkersFailedError(
            f"A trainer {trainer.process.describe_end()} while it was starting, "
            f"{_MAX_DEAD_STARTS} times: is there enough memory, does the objective's module load?"
        )
