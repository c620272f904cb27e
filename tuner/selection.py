"""From finished trials to the answer: the best trial, and its one look at the test set."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner.compact import read_document
from tuner.confirmation.values import CONFIRMATION, Confirmation
from tuner.errors import NoResultError
from tuner.study import LoadedStudy
from tuner.train import find_course, has_test_part
from tuner.workers.config import WorkerConfig
from tuner.workers.devices import find_n_threads
from tuner.workers.jobs import run_job
from tuner.workers.messages import ScoreRequest, TrainedTrial
from tuner.workers.shutdown import Leaving

_TEST = "test"


def find_best_trial(trials: list[FrozenTrial], direction: str) -> FrozenTrial | None:
    """Return the best complete trial: by value, then fewer epochs, then the lower number.

    A pruned trial is never the best: its value is that of an earlier epoch. Of a study, its own
    trials are given (`LoadedStudy.own`): those of other programs are no answer.
    """
    sign = -1 if direction == "maximize" else 1
    complete = [t for t in trials if t.state is TrialState.COMPLETE and _is_feasible(t)]
    return min(
        complete,
        key=lambda t: (sign * _value(t), len(t.intermediate_values), t.number),
        default=None,
    )


def _is_feasible(trial: FrozenTrial) -> bool:
    """Tell whether a trial keeps the constraints that its objective has set, as Optuna means it."""
    return all(value <= 0 for value in trial.constraints.values())


def get_best_trial(loaded: LoadedStudy) -> FrozenTrial:
    """Return the best complete trial of the study's own, or raise NoResultError."""
    trials = loaded.study.get_trials(deepcopy=False)
    own = loaded.own(trials)
    best = find_best_trial(own, loaded.spec.direction)
    if best is None:
        states = Counter(trial.state.name for trial in own)
        if len(own) < len(trials):
            states["of other programs"] = len(trials) - len(own)
        found = ", ".join(f"{n} {state}" for state, n in states.items()) or "none"
        raise NoResultError(
            f"Study {loaded.name!r} has no complete trial to choose from (trials: {found}): "
            "see `tuner trials`, or let it run on with `tuner run --trials N`"
        )
    return best


def find_confirmation(loaded: LoadedStudy) -> Confirmation | None:
    """Return what fresh seeds said of this study; None before `tuner confirm`."""
    stored = read_document(loaded.study.user_attrs, CONFIRMATION)
    return None if stored is None else Confirmation.model_validate(stored)


def find_test_accuracy(loaded: LoadedStudy, trial: FrozenTrial) -> float | None:
    """Return the test accuracy that was measured for this trial, if it was."""
    stored: dict[str, Any] = loaded.study.user_attrs.get(_TEST, {})
    # Its value too: the number of a last trial that was deleted is given to the next one.
    is_same = (
        stored.get("trial") == trial.number and stored.get("value", trial.value) == trial.value
    )
    return float(stored["accuracy"]) if is_same else None


def measure_test_accuracy(loaded: LoadedStudy, config: WorkerConfig, leaving: Leaving) -> None:
    """Score the best trial's model on the test set, if there is one, and store the result.

    The test set is read here and for a confirmation, nowhere else, once for a choice: a second call
    for the same trial does nothing.
    """
    if not has_test_part(loaded.spec):
        return
    retry = config.retry(leaving)
    best = retry.call("read the study", lambda: get_best_trial(loaded))
    if find_test_accuracy(loaded, best) is not None:
        return
    accuracy = score_on_test(loaded, [best], config, leaving)[best.number]
    answer = {"trial": best.number, "value": best.value, "accuracy": accuracy}
    retry.call("store the test accuracy", lambda: loaded.study.set_user_attr(_TEST, answer))


def score_on_test(
    loaded: LoadedStudy, trials: Sequence[FrozenTrial], config: WorkerConfig, leaving: Leaving
) -> dict[int, float]:
    """Return the test accuracies of the models of some complete trials, by number."""
    request = ScoreRequest(
        loaded.spec.training_config(data_dir=config.data_dir, device=config.device),
        find_n_threads(config.n_threads),
        config.models_dir,
        [_describe(trial) for trial in trials],
    )
    scores = run_job("tuner.workers.scoring:score_on_test", request, config, leaving)
    return {int(number): score for number, score in scores.items()}


def _describe(trial: FrozenTrial) -> TrainedTrial:
    course, best = find_course(trial), trial.user_attrs.get("best_epoch")
    passes = course.passes[:best]  # of one that ends early the model is that of its best epoch
    return TrainedTrial(trial.number, course.params, course.init, passes, _value(trial))


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # a COMPLETE trial has one
    return trial.value
