"""Single tasks for processes that torch, or somebody's module, may be loaded into.

A coordinator, like any command that talks to the database, loads neither.
"""

from collections.abc import Callable, Mapping
from typing import Any

from objectives import DataError, ObjectiveError, ProblemError, UnknownNameError
from objectives.functions import is_users
from storage import EmptyStorageError, SchemaError, find_study, open_storage
from tuner.errors import WorkersFailedError
from tuner.spec import build_new_spec, find_given, with_description
from tuner.workers.config import WorkerConfig
from tuner.workers.messages import Job
from tuner.workers.nursery import TrainerProcess, open_nursery, preload
from tuner.workers.shutdown import Leaving

_TICK_SECONDS = 0.1


def run_job(function: str, argument: Any, config: WorkerConfig, leaving: Leaving) -> Any:
    """Return what ``module:function`` returns for an argument, in a trainer of its own; JSON.

    Raises the ObjectiveError that it raises, WorkersFailedError if it dies, and Interrupted.
    """
    preload(None)
    process = open_nursery().fork(config.seat(0), Job(function, argument))
    return _hear_result(process, "A helper process", WorkersFailedError, leaving.check)


def _hear_result(
    process: TrainerProcess, what: str, died: type[Exception], check: Callable[[], None]
) -> Any:
    """Wait for what a process tells, an error or a result; it ends with this call."""
    try:
        while not process.has_ended:
            check()
            open_nursery().wait([process], _TICK_SECONDS)
            for kind, *found in process.channel.receive():
                if kind == "result":
                    return found[0]
                raise make_error(*found)
        raise died(f"{what} {process.describe_end()}")
    finally:
        process.kill()
        process.channel.close()


def make_error(name: str, text: str) -> Exception:
    """Return the error that a trainer has told of by its class's name."""
    known = (UnknownNameError, DataError, ProblemError, ObjectiveError)
    kind = next((error for error in known if error.__name__ == name), None)
    return WorkersFailedError(text) if kind is None else kind(text)


def _go_on() -> None:
    """Be asked by nobody to leave: Ctrl-C raises KeyboardInterrupt."""


def look_at_new(
    storage_url: str,
    study_name: str,
    options: Mapping[str, Any],
    check: Callable[[], None] = _go_on,
) -> Mapping[str, Any]:
    """Return a study's options, with what a user's problem says of itself if the study is new.

    Its objective is loaded here, and a problem is tried, before anything is stored. A study that
    exists has been looked at: workers tell what they cannot load. ``check`` is called now and then.
    Raises ObjectiveError, and what that raises.
    """
    if not is_users(options.get("objective", "")) or not _is_new(storage_url, study_name):
        return options
    if (described := describe_problem(options, check)) is not None:
        return described
    build_new_spec(options)  # or a database would be made for what a function does not take
    return options


def describe_problem(
    options: Mapping[str, Any], check: Callable[[], None] = _go_on
) -> Mapping[str, Any] | None:
    """Return options with what a user's problem says of itself; None if it is a function."""
    description = look_at_objective(options["objective"], options, check)
    return None if description is None else with_description(options, description)


def _is_new(storage_url: str, study_name: str) -> bool:
    try:
        storage = open_storage(storage_url, read_only=True)
    except EmptyStorageError:
        return True
    except SchemaError:  # of another version: said by whoever writes to it
        return False
    try:
        return find_study(storage.engine, study_name) is None
    finally:
        storage.engine.dispose()


def look_at_objective(
    objective: str,
    options: Mapping[str, Any],
    check: Callable[[], None] = _go_on,
    *,
    is_timed: bool = False,
) -> dict[str, Any] | None:
    """Load a user's objective in a process that may be lost; return a problem's description.

    If it is timed, the result is an ``objectives.checking.Check``. Raises the ObjectiveError that
    says why not.
    """
    preload(objective)
    job = Job(
        "tuner.workers.function_trainer:look_at",
        {"objective": objective, "given": {**find_given(options), "is_timed": is_timed}},
    )
    process = open_nursery().fork(WorkerConfig("", "").seat(0), job)
    what = f"Objective {objective!r}: the process that imported its module"
    found: dict[str, Any] | None = _hear_result(process, what, ObjectiveError, check)
    return found
