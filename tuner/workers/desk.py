"""Does on the study what trainers say and ask of the trials that they train."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from storage import GIVEN_BACK, WorkerStorage
from tuner.errors import StudyFailedError
from tuner.exponents import find_reason_against
from tuner.workers.messages import Reply
from tuner.workers.remote_study import make_trial


class Desk:
    """Answers for one study; ``wants_stop`` once an objective has called ``Study.stop``."""

    def __init__(self, study: optuna.Study, storage: WorkerStorage) -> None:
        self._study, self._storage = study, storage
        self.wants_stop = False

    def answer(self, trial: optuna.Trial | None, name: str, arguments: Sequence[Any]) -> Reply:
        """Return the reply to a call; ``trial`` is the one that it is about, if it is here still.

        What the call raises is raised where it was made. UpdateFinishedTrialError passes through,
        and StudyFailedError, after which no trial of the study is worth while.
        """
        try:
            return Reply(getattr(self, f"_{name}")(trial, *arguments))
        except UpdateFinishedTrialError:
            raise
        except (ValueError, TypeError, KeyError, OverflowError, NotImplementedError) as error:
            kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
            return Reply(error=(kind, str(error.args[0]) if error.args else str(error)))

    def _suggest(self, trial: optuna.Trial | None, name: str, text: str | None) -> float:
        """Set a parameter; without a text its distribution is the one it was chosen by."""
        if text is None:
            distribution = (_here(trial).relative_search_space or {})[name]
        else:
            distribution = json_to_distribution(text)
        if (reason := find_reason_against(name, distribution)) is not None:
            raise StudyFailedError(reason)
        value = suggest(_here(trial), name, distribution)
        if isinstance(distribution, CategoricalDistribution):  # 1, 1.0 and True are equal
            for index, choice in enumerate(distribution.choices):
                if choice is value:
                    return index
        return distribution.to_internal_repr(value)

    def _report(self, trial: optuna.Trial | None, step: int, value: float) -> None:
        _here(trial).report(value, step)

    def _user_attr(self, trial: optuna.Trial | None, key: str, value: Any) -> None:
        if key == GIVEN_BACK:
            raise ValueError(
                f"{key!r} is the attribute of a trial that is run again: choose another name"
            )
        _here(trial).set_user_attr(key, value)

    def _system_attr(self, trial: optuna.Trial | None, key: str, value: Any) -> None:
        self._storage.set_trial_system_attr(_here(trial)._trial_id, key, value)

    def _trials(self, _trial: optuna.Trial | None, states: Sequence[str]) -> Any:
        wanted = tuple(TrialState[name] for name in states)
        if TrialState.RUNNING in wanted:
            self._storage.read_reports()
        return self._study.get_trials(deepcopy=False, states=wanted)

    def _add_trial(self, _trial: optuna.Trial | None, described: dict[str, Any]) -> int:
        trial = make_trial(described)
        return self._storage.create_new_trial(self._study._study_id, trial)

    def _study_attrs(self, _trial: optuna.Trial | None, kind: str) -> dict[str, Any]:
        if kind == "user":
            return self._storage.get_study_user_attrs(self._study._study_id)
        return self._storage.get_study_system_attrs(self._study._study_id)

    def _set_study_attr(self, _trial: optuna.Trial | None, kind: str, key: str, value: Any) -> None:
        if kind == "user":
            self._storage.set_study_user_attr(self._study._study_id, key, value)
        else:
            self._storage.set_study_system_attr(self._study._study_id, key, value)

    def _stop(self, _trial: optuna.Trial | None) -> None:
        self.wants_stop = True


def _here(trial: optuna.Trial | None) -> optuna.Trial:
    if trial is None:
        raise UpdateFinishedTrialError("The trial was taken away from its trainer")
    return trial


def find_relative(trial: optuna.Trial) -> dict[str, tuple[BaseDistribution, Any]]:
    """Return what the sampler chooses at once, so that a trainer need not ask parameter by
    parameter; nothing if parameters were queued, for which a sampler may never be asked."""
    if trial._fixed_params or not trial.relative_params:
        return {}
    space = trial.relative_search_space or {}
    return {name: (space[name], value) for name, value in trial.relative_params.items()}


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Let a trial suggest a parameter that has this distribution."""
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise TypeError(f"{type(distribution).__name__} is none of Optuna's distributions")
