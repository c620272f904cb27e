"""The numbers behind the pictures of λ: measures over fresh seeds by rung, and the search's trials.

Drawing them is left to ``tuner.pictures.path_figure`` and ``tuner.pictures.map_figure``.
"""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from tuner.confirmation.fresh_seeds import SEED
from tuner.confirmation.statistics import is_finite, summarise
from tuner.confirmation.values import Confirmation, Point, Rung, Score, Source
from tuner.errors import NoResultError, StudyNotFoundError
from tuner.report import follow_up
from tuner.selection import find_best_trial, find_confirmation
from tuner.study import LoadedStudy, load_study_as_it_is

Measure = Literal["value", "training_value", "training_loss", "weight_norm", "zero_share"]
Outcome = Literal["complete", "pruned", "diverged"]

# What a confirming trial of a built-in objective keeps beside its value; a function keeps nothing.
_KEPT: tuple[Measure, ...] = ("training_value", "training_loss", "weight_norm", "zero_share")


@dataclass(frozen=True)
class PathRung:
    """A strength with its companion, and what training with them on fresh seeds gave, by measure.

    ``value`` is the metric's; training accuracy, loss, weight norm and share of weights that are
    exactly 0 are those of the last epoch.
    """

    strength: float
    companion: float | None
    source: Source
    is_dropped: bool
    measures: Mapping[Measure, Score]

    def find(self, measure: Measure) -> Score | None:
        """Return a measure's mean over seeds, if there is one."""
        return self.measures.get(measure)


@dataclass(frozen=True)
class Trained:
    """One training on a fresh seed: where, and what it gave by measure."""

    strength: float
    companion: float | None
    measures: Mapping[Measure, float]


@dataclass(frozen=True)
class Named:
    """What the axes of a picture show, and whether they are log axes."""

    strength: str
    companion: str | None
    metric: str
    is_proportion: bool
    has_log_strength: bool = True
    has_log_companion: bool = True


@dataclass(frozen=True)
class LambdaPath:
    """What fresh seeds say along λ: what was checked, in ascending λ, and what was chosen.

    ``profile`` is the surface that was chosen on (of older answers there is none), ``trained`` each
    training by itself.
    """

    study: str
    named: Named
    direction: Literal["maximize", "minimize"]
    n_seeds: int
    search_value: float
    lambda_min: int
    lambda_1se: int
    rungs: tuple[PathRung, ...]
    profile: tuple[Point, ...] = ()
    trained: tuple[Trained, ...] = ()

    def has(self, measure: Measure) -> bool:
        """Tell whether any rung has this measure."""
        return any(rung.find(measure) for rung in self.rungs)


@dataclass(frozen=True)
class MapPoint:
    """A trial of the search: where it was, and its value when it ended (None if it diverged)."""

    number: int
    strength: float
    companion: float
    value: float | None
    outcome: Outcome
    n_epochs: int


@dataclass(frozen=True)
class LambdaMap:
    """The trials of a search over both parameters; ``best`` is a trial's number."""

    study: str
    named: Named
    direction: Literal["maximize", "minimize"]
    points: tuple[MapPoint, ...]
    best: int | None  # None too if its value is infinite, which has no colour


def get_confirmation(loaded: LoadedStudy) -> Confirmation:
    """Return what fresh seeds say of this study; raises NoResultError before `tuner confirm`."""
    confirmation = find_confirmation(loaded)
    if confirmation is None:
        command = follow_up("confirm", loaded.storage.url)
        raise NoResultError(
            f"Study {loaded.name!r} has not been trained on fresh seeds, so it has no path of λ: "
            f"run `{command} --study {shlex.quote(loaded.name)}`, or draw with --only map"
        )
    return confirmation


def build_path(loaded: LoadedStudy, confirmation: Confirmation) -> LambdaPath:
    """Return the path of λ that a confirmation found, with what its trials kept."""
    try:
        trials = load_study_as_it_is(loaded.storage, confirmation.study).study.get_trials(
            deepcopy=False
        )
    except StudyNotFoundError:  # it was deleted: the values are in the confirmation
        trials = []
    return LambdaPath(
        study=loaded.name,
        named=_name(loaded),
        direction=confirmation.direction,
        n_seeds=len(confirmation.seeds),
        search_value=confirmation.search_value,
        lambda_min=confirmation.lambda_min,
        lambda_1se=confirmation.lambda_1se,
        profile=confirmation.profile,
        trained=_find_trained(confirmation, trials),
        rungs=tuple(_path_rung(confirmation, rung, trials) for rung in confirmation.rungs),
    )


def _name(loaded: LoadedStudy) -> Named:
    facts = loaded.spec.facts
    distributions = [trial.distributions for trial in loaded.own_trials()]

    def is_log(name: str | None) -> bool:
        found = [each[name] for each in distributions if name in each]
        return all(getattr(each, "log", False) for each in found)

    return Named(
        facts.strength,
        facts.companion,
        facts.metric.name,
        facts.metric.is_proportion,
        is_log(facts.strength),
        is_log(facts.companion),
    )


def _find_trained(confirmation: Confirmation, trials: list[FrozenTrial]) -> tuple[Trained, ...]:
    """Return each training that has come to its end."""
    found = []
    for trial in trials:
        strength = trial.params.get(confirmation.strength)
        companion = trial.params.get(confirmation.companion or "")
        if trial.state is TrialState.COMPLETE and strength is not None and is_finite(trial.value):
            kept = {measure: _last(trial.user_attrs.get(measure)) for measure in _KEPT}
            measures = {name: value for name, value in kept.items() if value is not None}
            found.append(Trained(strength, companion, {"value": trial.value, **measures}))
    return tuple(found)


def _path_rung(confirmation: Confirmation, rung: Rung, trials: list[FrozenTrial]) -> PathRung:
    measures: dict[Measure, Score] = {}
    if rung.score is not None:
        measures["value"] = rung.score
    own = _trials_by_seed(rung, trials)
    for measure in _KEPT:
        kept = [_last(trial.user_attrs.get(measure)) for trial in own.values()]
        values = [value for value in kept if value is not None]
        mean, error = summarise(values)
        if mean is not None:
            measures[measure] = Score(mean=mean, standard_error=error, n_seeds=len(values))
    candidate = rung.candidate
    companion = confirmation.find_companion(candidate)
    return PathRung(candidate.strength, companion, candidate.source, rung.is_dropped, measures)


def _trials_by_seed(rung: Rung, trials: list[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return the trials that gave this rung its values; of one that was run twice, the first."""
    own: dict[int, FrozenTrial] = {}
    for trial in trials:
        seed = trial.user_attrs.get(SEED)
        if trial.state is TrialState.COMPLETE and seed in rung.values and _is_of(rung, trial):
            own.setdefault(seed, trial)
    return own


def _is_of(rung: Rung, trial: FrozenTrial) -> bool:
    return all(
        _is_same(trial.params.get(name), value) for name, value in rung.candidate.params.items()
    )


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other


def _last(kept: float | list[float] | None) -> float | None:
    """Return a number as it is; of one a each epoch, the last. None if it is not finite."""
    if isinstance(kept, list):
        kept = kept[-1] if kept else None
    return kept if kept is not None and math.isfinite(kept) else None


def build_map(loaded: LoadedStudy) -> LambdaMap:
    """Return the search's trials that have a λ and a learning rate; NoResultError without any.

    Trials that failed, were given back or have not ended are left out, and those of other programs.
    """
    trials = loaded.own_trials()
    named = _name(loaded)
    points = tuple(point for trial in trials if (point := _point(trial, named)))
    if not points:
        raise NoResultError(
            f"Study {loaded.name!r} has no finished trial with both {named.strength} and "
            f"{named.companion or 'a companion'} to draw"
        )
    best = find_best_trial(trials, loaded.spec.direction)
    return LambdaMap(
        study=loaded.name,
        named=named,
        direction=loaded.spec.direction,
        points=points,
        best=best.number if best is not None and is_finite(best.value) else None,
    )


def _point(trial: FrozenTrial, named: Named) -> MapPoint | None:
    strength = _find_place(trial, named.strength, is_log=named.has_log_strength)
    companion = _find_place(trial, named.companion, is_log=named.has_log_companion)
    if strength is None or companion is None:
        return None
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return None
    reported = trial.intermediate_values
    value = trial.value
    if value is None and reported:  # pruned: what it had reached
        value = reported[max(reported)]
    outcome: Outcome = "complete" if trial.state is TrialState.COMPLETE else "pruned"
    if trial.user_attrs.get("diverged") or value is None or not math.isfinite(value):
        outcome, value = "diverged", None
    return MapPoint(trial.number, strength, companion, value, outcome, len(reported))


def _find_place(trial: FrozenTrial, name: str | None, *, is_log: bool) -> float | None:
    """Return a parameter that has a place on its axis."""
    value = trial.params.get(name or "")
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if value > 0 or not is_log else None


def as_document(path: LambdaPath) -> dict[str, Any]:
    """Return the path as plain data, for programs."""
    return {
        "study": path.study,
        "metric": path.named.metric,
        "direction": path.direction,
        "n_seeds": path.n_seeds,
        "search_value": path.search_value,
        "lambda_min": path.rungs[path.lambda_min].strength,
        "lambda_1se": path.rungs[path.lambda_1se].strength,
        "rungs": [
            {
                path.named.strength: rung.strength,
                **({path.named.companion: rung.companion} if path.named.companion else {}),
                "source": rung.source,
                "is_dropped": rung.is_dropped,
                **{name: score.model_dump() for name, score in rung.measures.items()},
            }
            for rung in path.rungs
        ],
        "profile": [point.model_dump() for point in path.profile],
    }
