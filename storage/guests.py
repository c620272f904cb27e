"""Trials that another program put into a study, as its samplers can take them.

Optuna refuses a parameter that has another kind of distribution in any trial of the study, and a
sampler cannot learn from a value that is outside of the range it draws from. So a guest is shown
with the distributions of the study's own trials where its values fit them; else it is shown as
failed, which samplers pass over. Until a parameter of an own trial is known, guests stay as they
are. Nothing is changed in the database.
"""

import copy
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from storage.origin import is_own

_TEACHING = (TrialState.COMPLETE, TrialState.PRUNED)


class Guests:
    """The guests of one study, and what its own parameters are; not thread-safe."""

    def __init__(self, origin: str | None) -> None:
        self._origin = origin
        self._guests: dict[int, FrozenTrial] = {}  # as they are stored
        self._space: dict[str, BaseDistribution] = {}
        self._is_news = False

    def find_distribution(self, param_name: str) -> BaseDistribution | None:
        """Return the distribution that a parameter has in the study's own trials, if it is known.

        The first, where they differ.
        """
        return self._space.get(param_name)

    def learn(self, distributions: Mapping[str, BaseDistribution]) -> None:
        """Take these for the distributions of the study's own parameters, unless known better."""
        for name, distribution in distributions.items():
            if name not in self._space:
                self._space[name] = distribution
                self._is_news = True

    def show(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial that was read as samplers shall see it; learns from an own one."""
        if is_own(trial, self._origin):
            self.learn(trial.distributions)
        elif trial.state in _TEACHING:
            self._guests[trial._trial_id] = trial
            return _fit(trial, self._space)
        return trial

    def pop_news(self) -> list[FrozenTrial]:
        """Return the guests as they shall be seen from now on; none if nothing was learnt."""
        is_news, self._is_news = self._is_news, False
        return [_fit(guest, self._space) for guest in self._guests.values()] if is_news else []


def _fit(guest: FrozenTrial, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    others = {
        name: space[name]
        for name, distribution in guest.distributions.items()
        if space.get(name, distribution) != distribution
    }
    if not others:
        return guest
    shown = copy.copy(guest)
    shown.params, shown.distributions = dict(guest.params), dict(guest.distributions)
    for name, own in others.items():
        if not fits(own, guest.params[name]):
            return _hidden(guest)
        internal = own.to_internal_repr(guest.params[name])
        shown.params[name], shown.distributions[name] = own.to_external_repr(internal), own
    return shown


def fits(distribution: BaseDistribution, value: Any) -> bool:
    """Tell whether a value is one that this distribution can give."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def _hidden(guest: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(guest)
    shown.state, shown.values = TrialState.FAIL, None
    shown.params, shown.distributions = {}, {}  # or it would teach as a failure does
    return shown
