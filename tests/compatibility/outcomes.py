"""What came of a case, in a form in which two runs of it can be compared."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from tuner.errors import NoResultError
from tuner.selection import get_best_trial
from tuner.study import LoadedStudy

# What a worker notes of each trial for whoever looks at it.
OUR_ATTRIBUTES = frozenset({"worker", "error", "tuner:origin"})
# Artifacts are called by random ids.
_ARTIFACT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Outcome:
    """The trials of a study by what can be compared of them, and the number of the best one."""

    trials: tuple[Mapping[str, Any], ...]
    best: int | None

    @property
    def states(self) -> str:
        """The first letters of the trials' states."""
        return "".join(str(trial["state"])[0] for trial in self.trials)


# What people would say of a study that cannot be read any more.
UNREADABLE = Outcome((), None)


def outcome_of_optuna(study: optuna.Study) -> Outcome:
    """Return what came of a case under plain Optuna."""
    try:
        trials = _describe(study)
    except OverflowError:
        return UNREADABLE
    try:
        return Outcome(trials, study.best_trial.number)
    except ValueError:
        return Outcome(trials, None)


def outcome_here(loaded: LoadedStudy) -> Outcome:
    """Return what came of a case here."""
    try:
        trials = _describe(loaded.study)
    except OverflowError:
        return UNREADABLE
    try:
        return Outcome(trials, get_best_trial(loaded).number)
    except NoResultError:
        return Outcome(trials, None)


def _describe(study: optuna.Study) -> tuple[Mapping[str, Any], ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of choices that are no numbers and no texts
        return tuple(_describe_trial(trial) for trial in study.trials)


def _describe_trial(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial as texts: they tell 1 from 1.0 and True, and NaN is like NaN."""
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": repr(trial.values),
        "params": _texts(trial.params),
        "distributions": _texts(trial.distributions),
        "intermediate_values": _texts(trial.intermediate_values),
        "user_attrs": _texts(trial.user_attrs),
        "system_attrs": _texts(trial.system_attrs),
        "has a start": trial.datetime_start is not None,
        "has an end": trial.datetime_complete is not None,
    }


def _texts(values: Mapping[Any, Any]) -> dict[str, str]:
    return {_ARTIFACT.sub("ID", repr(k)): _ARTIFACT.sub("ID", repr(v)) for k, v in values.items()}


def compare(optunas: Outcome, ours: Outcome) -> list[str]:
    """Return what differs, a line each."""
    lines = []
    if len(optunas.trials) != len(ours.trials):
        lines.append(f"trials: {optunas.states} under Optuna, {ours.states} here")
    for theirs, here in zip(optunas.trials, ours.trials, strict=False):
        lines += _compare_trials(theirs, here)
    if optunas.best != ours.best and not _are_equal(optunas, ours):
        lines.append(f"best trial: {optunas.best} under Optuna, {ours.best} here")
    return lines


def _are_equal(optunas: Outcome, ours: Outcome) -> bool:
    """Whether both best trials have one value: under Optuna the database picks among equals."""
    if optunas.best is None or ours.best is None:
        return False
    return bool(optunas.trials[optunas.best]["values"] == optunas.trials[ours.best]["values"])


def _compare_trials(theirs: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    lines = []
    for what, expected in theirs.items():
        found = here[what]
        if what in ("user_attrs", "system_attrs"):
            own = {repr(name) for name in OUR_ATTRIBUTES} - set(expected)
            found = {name: value for name, value in found.items() if name not in own}
        if found != expected:
            lines.append(
                f"trial {theirs['number']}, {what}: {_shorten(expected, found)} under Optuna, "
                f"{_shorten(found, expected)} here" + _reason(here)
            )
    return lines


def _shorten(value: Any, other: Any) -> str:
    if isinstance(value, dict) and isinstance(other, dict):
        value = {k: v for k, v in value.items() if k not in other or other[k] != v}
    text = str(value)
    return text if len(text) < 300 else f"{text[:300]}..."


def _reason(here: Mapping[str, Any]) -> str:
    error = here["user_attrs"].get("'error'")
    return f" ({error[:200]})" if error else ""
