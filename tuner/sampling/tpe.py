"""Optuna's TPE sampler for long studies: the same suggestions, at a cost that hardly grows.

But for one thing, which can be turned off: failed trials teach it where not to go.

Optuna 5.0.0 reads all finished trials again for each suggestion: 52 ms at 2,000 trials. This one
keeps them in arrays and computes only as much of the densities as decides between candidates.
``python -m benchmarks.sampling`` measures both.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, cast

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import default_gamma
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tuner.sampling.candidates import find_best_candidate
from tuner.sampling.observations import (
    GetParams,
    Observations,
    ObservedTrials,
    Question,
    as_worst,
    is_lesson,
)


class _FailuresAsWorst:
    """A study as Optuna's code is to see it, in which failed trials are the worst there are."""

    def __init__(self, study: Study, get_params: GetParams) -> None:
        self._study = study
        self._get_params = get_params

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, *, deepcopy: bool, states: Sequence[TrialState], use_cache: bool
    ) -> list[FrozenTrial]:
        wanted = (*states, TrialState.FAIL)
        trials = self._study._get_trials(deepcopy, wanted, use_cache=use_cache)
        return [
            as_worst(trial, self._study, self._get_params) if is_lesson(trial) else trial
            for trial in trials
            if trial.state in states or is_lesson(trial)
        ]


class IncrementalTPESampler(TPESampler):
    """A TPESampler that suggests what Optuna's would, given the same seed, calls and trials.

    If it ``learns_from_failures``, a failed trial counts as worse than any other, as one does that
    violates a constraint; without, it is ignored, as by Optuna. What was given back is ignored.
    Fast for one objective and continuous parameters; anything else is left to Optuna's code. It
    takes TPESampler's arguments. Threads may share one.
    """

    def __init__(self, *, learns_from_failures: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._learns_from_failures = learns_from_failures
        self._observed = ObservedTrials()

    def _sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if search_space == {} or not self._has_started(study):
            return {}
        return self._sample(study, trial, search_space)

    def _has_started(self, study: Study) -> bool:
        trials = study._get_trials(deepcopy=False, use_cache=True)
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        finished = (trial for trial in trials if trial.state in states)
        n = self._n_startup_trials
        return len(list(islice(finished, n))) >= n

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        observations = self._observe(study, trial, search_space)
        if observations is None:
            if self._learns_from_failures:
                study = cast("Study", _FailuresAsWorst(study, self._get_params))
            return super()._sample(study, trial, search_space)
        good, bad = (
            _ParzenEstimator(observed, search_space, self._parzen_estimator_parameters)
            for observed in observations
        )
        candidates = good.sample(self._rng.rng, self._n_ei_candidates)
        best = find_best_candidate(candidates, good, bad)
        if best is None:
            best = int(self._compute_acquisition_func(candidates, good, bad).argmax())
        return {
            name: distribution.to_external_repr(candidates[name][best].item())
            for name, distribution in search_space.items()
        }

    def _observe(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> tuple[Observations, Observations] | None:
        """Return what good and bad trials had as parameters; None if Optuna's code must do it."""
        if study._is_multi_objective() or not all(map(_is_continuous, search_space.values())):
            return None
        question = Question(
            list(search_space),
            trial.number,
            self._gamma or default_gamma,
            has_liar=self._constant_liar,
            has_failures=self._learns_from_failures,
        )
        trials = study._get_trials(deepcopy=False, use_cache=not self._constant_liar)
        return self._observed.split(study, trials, question, self._get_params)


def _is_continuous(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, FloatDistribution) and distribution.step is None
