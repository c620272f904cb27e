"""A trainer of a user's function: calls it with one trial after another.

Whatever the function raises, returns or leaves behind ends its own trial. What becomes of the trial
is the coordinator's to decide.
"""

import contextlib
import inspect
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.exceptions import TrialPruned

from objectives.errors import ObjectiveError
from objectives.functions import (
    LoadedProblem,
    ObjectiveFunction,
    digest_module,
    load_objective,
    read_source,
)
from tuner.workers.link import Link
from tuner.workers.messages import FunctionWork, Outcome, StartFunction
from tuner.workers.remote_study import RemoteStudy, open_study
from tuner.workers.tidy import Surroundings, list_running_threads, seed_generators
from tuner.workers.users_code import failed, forget_our_names, show


def train_functions(link: Link, work: FunctionWork, device: str, folder: str) -> None:
    """Serve the coordinator until it says that it is enough."""
    try:
        _check_device(device)
        with forget_our_names(folder):
            function = load_objective(work.objective, folder, work.given.get("objective_options"))
            if isinstance(function, LoadedProblem):
                return link.tell("problem", work.objective, _describe(function, work.given))
    except ObjectiveError as error:
        return link.tell("refused", type(error).__name__, str(error))
    link.listen()
    study = open_study(link, work)
    link.tell("ready", 1, None, digest_module(function))
    pid, surroundings = os.getpid(), Surroundings()
    while isinstance(start := link.find_start(wait=True), StartFunction):
        threads = list_running_threads()
        with surroundings.kept() as run:
            seed_generators(work.seed, start.number)
            outcome = run(_call, function, study, start)
        if os.getpid() != pid:
            os._exit(0)  # a child that the function has forked, and let return
        has_leftovers = bool(list_running_threads() - threads) or surroundings.is_spoilt
        link.tell("ended", start.number, {**vars(outcome), "wants_new_process": has_leftovers})
    return None


def look_at(asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Load an ``objective``; return a problem's description, None for a function of a trial.

    ``given`` are the options of the study. Raises ObjectiveError.
    """
    folder, given = os.getcwd(), asked["given"]
    with forget_our_names(folder):
        found = load_objective(asked["objective"], folder, given.get("objective_options"))
        return _describe(found, given) if isinstance(found, LoadedProblem) else None


def _describe(loaded: LoadedProblem, given: Mapping[str, Any]) -> dict[str, Any]:
    from objectives.checking import check  # it takes torch
    from objectives.describing import describe

    source = read_source(loaded)
    if given.get("is_timed"):
        import torch

        torch.set_num_threads(1)  # as a trainer has
        return asdict(check(loaded.problem, source, given, seed=given["seed"]))
    return asdict(describe(loaded.problem, source, given, seed=given["seed"]))


def _check_device(name: str) -> None:
    """Refuse a device that is not here; what ``auto`` is, is the function's to say."""
    if name not in ("auto", "cpu"):
        from objectives.device import choose_device

        choose_device(name)


def _call(function: ObjectiveFunction, study: RemoteStudy, start: StartFunction) -> Outcome:
    trial = study.open_trial(start)
    try:
        value = _finish(function(trial), trial)
    except TrialPruned:
        return Outcome("PRUNED")
    except BaseException as error:  # noqa: BLE001 (the trial boundary: whatever it raises)
        return Outcome("LOST") if study.has_lost(start.number) else failed(error)
    return _with_value(value, len(study.directions))


def _finish(result: Any, trial: optuna.Trial) -> Any:
    """Return what a function has returned; one that yields a value an epoch gives the last.

    Each value is reported, at steps 1, 2, ...; pruning closes it, so that its ``finally`` runs.
    Raises TrialPruned.
    """
    if not inspect.isgenerator(result):
        return result
    value: Any = None
    with contextlib.closing(result) as values:
        for step, value in enumerate(values, start=1):
            trial.report(value, step)
            if trial.should_prune():
                raise TrialPruned
    return value


def _with_value(value: Any, n_directions: int) -> Outcome:
    """Return the end of a trial whose function returned this; as Optuna takes it, or does not."""
    is_one = not isinstance(value, Sequence) or isinstance(value, str)
    try:
        numbers = [float(each) for each in ([value] if is_one else value)]
    except BaseException:  # noqa: BLE001 (its conversion is the user's)
        return Outcome("FAIL", error=_not_taken(value, "not a number"))
    if len(numbers) != n_directions:
        reason = f"{len(numbers)} values: studies here have one"
        return Outcome("FAIL", error=_not_taken(value, reason))
    if any(math.isnan(number) for number in numbers):
        return Outcome("FAIL", error="the objective returned NaN")
    return Outcome("COMPLETE", values=numbers)


def _not_taken(value: object, reason: str) -> str:
    return f"the objective returned {show(value, repr)}, {reason}"
