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
from tuner.confirmation.statistics import summarise
from tuner.confirmation.values import Confirmation, Rung, Score, Source
from tuner.errors import NoResultError, StudyNotFoundError
from tuner.report import follow_up
from tuner.selection import find_best_trial, find_confirmation
from tuner.study import LoadedStudy, load_study

Measure = Literal["value", "training_accuracy", "training_loss", "weight_norm"]
Outcome = Literal["complete", "pruned", "diverged"]

# What a confirming trial of a built-in objective keeps beside its value; a function keeps nothing.
_KEPT: tuple[Measure, ...] = ("training_accuracy", "training_loss", "weight_norm")


@dataclass(frozen=True)
class PathRung:
    """A λ with its learning rate, and what training with them on fresh seeds gave, by measure.

    ``value`` is the final validation accuracy (a fraction), or a function's value; training
    accuracy, loss and weight norm are those of the last epoch.
    """

    weight_decay: float
    lr: float
    source: Source
    is_dropped: bool
    measures: Mapping[Measure, Score]

    def find(self, measure: Measure) -> Score | None:
        """Return a measure's mean over seeds, if there is one."""
        return self.measures.get(measure)


@dataclass(frozen=True)
class LambdaPath:
    """What fresh seeds say along λ: rungs in ascending λ, and what was chosen from them."""

    study: str
    metric: str  # what ``value`` is
    direction: Literal["maximize", "minimize"]
    n_seeds: int
    search_value: float
    lambda_min: int
    lambda_1se: int
    margin: float | None  # how far behind the best λ_1se may be
    rungs: tuple[PathRung, ...]

    def has(self, measure: Measure) -> bool:
        """Tell whether any rung has this measure."""
        return any(rung.find(measure) for rung in self.rungs)

    def by_source(self, source: Source) -> list[PathRung]:
        """Return the rungs that are there for this reason, in ascending λ."""
        return [rung for rung in self.rungs if rung.source == source]


@dataclass(frozen=True)
class MapPoint:
    """A trial of the search: where it was, and its value when it ended (None if it diverged)."""

    number: int
    weight_decay: float
    lr: float
    value: float | None
    outcome: Outcome
    n_epochs: int


@dataclass(frozen=True)
class LambdaMap:
    """The trials of a search over (λ, lr); ``best`` is a trial's number."""

    study: str
    metric: str
    direction: Literal["maximize", "minimize"]
    points: tuple[MapPoint, ...]
    best: int | None


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
        trials = load_study(loaded.storage, confirmation.study).study.get_trials(deepcopy=False)
    except StudyNotFoundError:  # it was deleted: the values are in the confirmation
        trials = []
    return LambdaPath(
        study=loaded.name,
        metric=_metric(loaded),
        direction=confirmation.direction,
        n_seeds=len(confirmation.seeds),
        search_value=confirmation.search_value,
        lambda_min=confirmation.lambda_min,
        lambda_1se=confirmation.lambda_1se,
        margin=confirmation.margin,
        rungs=tuple(_path_rung(rung, trials) for rung in confirmation.rungs),
    )


def _metric(loaded: LoadedStudy) -> str:
    return "objective value" if loaded.spec.is_function else "validation accuracy"


def _path_rung(rung: Rung, trials: list[FrozenTrial]) -> PathRung:
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
    return PathRung(
        candidate.weight_decay, candidate.lr, candidate.source, rung.is_dropped, measures
    )


def _trials_by_seed(rung: Rung, trials: list[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return the trials that gave this rung its values; of one that was run twice, the first."""
    own: dict[int, FrozenTrial] = {}
    for trial in trials:
        seed = trial.user_attrs.get(SEED)
        if trial.state is TrialState.COMPLETE and seed in rung.values and _is_of(rung, trial):
            own.setdefault(seed, trial)
    return own


def _is_of(rung: Rung, trial: FrozenTrial) -> bool:
    wanted = rung.candidate
    return trial.user_attrs.get("source") == wanted.source and all(
        math.isclose(trial.params.get(name, math.nan), value, rel_tol=1e-9)
        for name, value in (("weight_decay", wanted.weight_decay), ("lr", wanted.lr))
    )


def _last(kept: float | list[float] | None) -> float | None:
    """Return a number as it is; of one a each epoch, the last. None if it is not finite."""
    if isinstance(kept, list):
        kept = kept[-1] if kept else None
    return kept if kept is not None and math.isfinite(kept) else None


def build_map(loaded: LoadedStudy) -> LambdaMap:
    """Return the search's trials that have a λ and a learning rate; NoResultError without any.

    Trials that failed, were given back or have not ended are left out.
    """
    trials = loaded.study.get_trials(deepcopy=False)
    points = tuple(point for trial in trials if (point := _point(trial)))
    if not points:
        raise NoResultError(
            f"Study {loaded.name!r} has no finished trial with both weight_decay and lr to draw"
        )
    best = find_best_trial(trials, loaded.spec.direction)
    return LambdaMap(
        study=loaded.name,
        metric=_metric(loaded),
        direction=loaded.spec.direction,
        points=points,
        best=None if best is None else best.number,
    )


def _point(trial: FrozenTrial) -> MapPoint | None:
    weight_decay, lr = (_find_positive(trial, name) for name in ("weight_decay", "lr"))
    if weight_decay is None or lr is None:
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
    return MapPoint(trial.number, weight_decay, lr, value, outcome, len(reported))


def _find_positive(trial: FrozenTrial, name: str) -> float | None:
    """Return a parameter that has a place on a log axis."""
    value = trial.params.get(name)
    return value if isinstance(value, int | float) and 0 < value < math.inf else None


def as_document(path: LambdaPath) -> dict[str, Any]:
    """Return the path as plain data, for programs."""
    return {
        "study": path.study,
        "metric": path.metric,
        "direction": path.direction,
        "n_seeds": path.n_seeds,
        "search_value": path.search_value,
        "lambda_min": path.rungs[path.lambda_min].weight_decay,
        "lambda_1se": path.rungs[path.lambda_1se].weight_decay,
        "rungs": [
            {
                "weight_decay": rung.weight_decay,
                "lr": rung.lr,
                "source": rung.source,
                "is_dropped": rung.is_dropped,
                **{name: score.model_dump() for name, score in rung.measures.items()},
            }
            for rung in path.rungs
        ],
    }
