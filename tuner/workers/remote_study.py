"""An Optuna study and trial as a trainer has them: all that they ask goes to the coordinator.

The trial that an objective is handed is Optuna's own, on a storage, a sampler and a pruner that
ask. It works in threads, and, pickled or forked, in processes that the objective starts.
"""

import copy
import json
from collections.abc import Container, Mapping, Sequence
from typing import Any, NoReturn

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    json_to_distribution,
)
from optuna.distributions import distribution_to_json as _to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from tuner.workers.link import Link
from tuner.workers.messages import FunctionWork, StartFunction

Relative = Mapping[str, tuple[BaseDistribution, Any]]


def open_study(link: Link, work: FunctionWork) -> "RemoteStudy":
    """Return the study of a trainer."""
    link.errors[UpdateFinishedTrialError.__name__] = UpdateFinishedTrialError
    storage = _RemoteStorage(link, work)
    return RemoteStudy(work.study_name, storage, _RemoteSampler(link), _RemotePruner(link))


class RemoteStudy(optuna.Study):
    """A study to read, to set attributes of, to queue trials in, and to stop."""

    _storage: "_RemoteStorage"
    pruner: "_RemotePruner"

    def open_trial(self, start: StartFunction) -> optuna.Trial:
        """Return the trial that an objective is handed, with what is chosen for it already."""
        self._storage.hold(start.trial, start.relative)
        self.pruner.settled = start.pruner
        return optuna.Trial(self, start.trial._trial_id)

    def has_lost(self, number: int) -> bool:
        """Tell whether a trial was taken away from this trainer."""
        return self._storage.link.is_lost(number)

    def stop(self) -> None:
        """Let no trial of the study start any more; this one and its neighbours are finished."""
        self._storage.link.call("stop")

    def ask(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: a trial of the budget is claimed by its coordinator."""
        raise RuntimeError("An objective is handed its trial: it cannot ask its study for others")

    def tell(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: what an objective returns or raises is its trial's end."""
        raise RuntimeError(
            "An objective returns its value, or raises TrialPruned: it tells nothing"
        )

    def optimize(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse, as Optuna does within an objective."""
        raise RuntimeError("Nested invocation of `Study.optimize` method isn't allowed.")


class _RemoteSampler(BaseSampler):
    """Lets the coordinator suggest, which then has set the parameter, too."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        relative: Relative = study._storage.relative  # type: ignore[attr-defined]
        return {name: distribution for name, (distribution, _) in relative.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        relative: Relative = study._storage.relative  # type: ignore[attr-defined]
        return {name: value for name, (_, value) in relative.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        text = _to_json(param_distribution)
        internal = self._link.call("suggest", trial.number, param_name, text)
        study._storage.has_set = param_name  # type: ignore[attr-defined]
        return param_distribution.to_external_repr(internal)


class _RemotePruner(BasePruner):
    """Decides by what came with the trial, as long as that holds; else asks."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.settled: BasePruner | None = None

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if self.settled is not None and not self._link.has_to_ask():
            return self.settled.prune(study, trial)
        (should_prune,) = self._link.call("prune", [trial.number])
        return bool(should_prune)


class _RemoteStorage(BaseStorage):
    """Holds the trial in training; everything else is the coordinator's."""

    def __init__(self, link: Link, work: FunctionWork) -> None:
        self.link = link
        self._work = work
        self._trial: FrozenTrial | None = None
        self.relative: Relative = {}
        self.has_set: str | None = None  # the parameter that was suggested last

    def hold(self, trial: FrozenTrial, relative: Relative) -> None:
        """Be the storage of this trial from now on."""
        self._trial, self.relative, self.has_set = trial, relative, None

    def _own(self, trial_id: int) -> FrozenTrial:
        trial = self._trial
        if trial is None or trial._trial_id != trial_id:
            raise KeyError(f"The trial with id {trial_id} is not in training here")
        if self.link.is_lost(trial.number):
            raise UpdateFinishedTrialError(f"Trial {trial.number} was taken away meanwhile")
        return trial

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if self._trial is not None and self._trial._trial_id == trial_id:
            return _copied(self._trial)
        for trial in self.get_all_trials(self._work.study_id):
            if trial._trial_id == trial_id:
                return trial
        raise KeyError(f"There is no trial with id {trial_id}")

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        trial = self._own(trial_id)
        if self.has_set == param_name:
            pass  # the coordinator has suggested and set it
        elif param_name in self.relative:  # it has it too, and need not be waited for
            text = None if self._is_as_chosen(param_name, distribution) else _to_json(distribution)
            self.link.tell("suggest", trial.number, param_name, text)
        else:  # a value that was queued, or the only one
            self.link.call("suggest", trial.number, param_name, _to_json(distribution))
        self.has_set = None
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution

    def _is_as_chosen(self, param_name: str, distribution: BaseDistribution) -> bool:
        """Tell whether a distribution is that by which the sampler has chosen."""
        if isinstance(distribution, CategoricalDistribution):
            return False  # 1, 1.0 and True are equal
        return distribution == self.relative[param_name][0]

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        trial = self._own(trial_id)
        if abs(step) >= 2**31:  # what not every database takes is asked for
            self.link.call("report", trial.number, step, intermediate_value)
        else:
            self.link.tell("report", trial.number, step, intermediate_value)
        trial.intermediate_values[step] = intermediate_value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._own(trial_id)
        self.link.call("user_attr", trial.number, key, json.loads(json.dumps(value)))
        trial.user_attrs[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._own(trial_id)
        self.link.call("system_attr", trial.number, key, json.loads(json.dumps(value)))
        trial.system_attrs[key] = value

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        self._check_study(study_id)
        wanted = [state.name for state in TrialState if states is None or state in states]
        trials: list[FrozenTrial] = self.link.call("trials", wanted)
        return trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._check_study(study_id)
        if template_trial is None:
            raise RuntimeError("Trials of the budget are claimed, not created")
        return int(self.link.call("add_trial", describe_trial(template_trial)))

    def _check_study(self, study_id: int) -> None:
        if study_id != self._work.study_id:
            raise KeyError(f"This storage is for study {self._work.study_id}, not {study_id}")

    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name != self._work.study_name:
            raise KeyError(f"This storage is for study {self._work.study_name!r} alone")
        return self._work.study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        self._check_study(study_id)
        return self._work.study_name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        self._check_study(study_id)
        return [StudyDirection[name] for name in self._work.directions]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        self._check_study(study_id)
        attrs: dict[str, Any] = self.link.call("study_attrs", "user")
        return attrs

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        self._check_study(study_id)
        attrs: dict[str, Any] = self.link.call("study_attrs", "system")
        return attrs

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._check_study(study_id)
        self.link.call("set_study_attr", "user", key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._check_study(study_id)
        self.link.call("set_study_attr", "system", key, value)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        raise RuntimeError("A trial's end is what its objective returns or raises")

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        raise RuntimeError("An objective has its own study alone")

    def delete_study(self, study_id: int) -> None:
        raise RuntimeError("An objective cannot delete its study")

    def get_all_studies(self) -> list[FrozenStudy]:
        raise RuntimeError("An objective has its own study alone")


def _copied(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy whose dictionaries can be changed; all of it deep costs a no-op trial more."""
    copied = copy.copy(trial)
    copied.params, copied.distributions = dict(trial.params), dict(trial.distributions)
    copied.intermediate_values = dict(trial.intermediate_values)
    copied.user_attrs = copy.deepcopy(trial.user_attrs)
    copied.system_attrs = copy.deepcopy(trial.system_attrs)
    return copied


def describe_trial(trial: FrozenTrial) -> dict[str, Any]:
    """Return what `make_trial` makes the same trial of, in plain values."""
    return {
        "state": trial.state.name,
        "values": trial.values,
        "params": {
            name: distribution.to_internal_repr(trial.params[name])
            for name, distribution in trial.distributions.items()
        },
        "distributions": {n: _to_json(d) for n, d in trial.distributions.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": dict(trial.system_attrs),
        "intermediate_values": list(trial.intermediate_values.items()),
    }


def make_trial(described: dict[str, Any]) -> FrozenTrial:
    """Return the trial that `describe_trial` has described."""
    distributions = {n: json_to_distribution(t) for n, t in described["distributions"].items()}
    return optuna.trial.create_trial(
        state=TrialState[described["state"]],
        values=described["values"],
        params={n: distributions[n].to_external_repr(v) for n, v in described["params"].items()},
        distributions=distributions,
        user_attrs=described["user_attrs"],
        system_attrs=described["system_attrs"],
        intermediate_values={int(step): value for step, value in described["intermediate_values"]},
    )
