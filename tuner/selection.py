"""From finished trials to the answer: the best trial, and its one look at the test set."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from objectives import TrainingConfig
from objectives.datasets import Split, load_test_data
from storage import open_storage
from tuner.checkpoints import find_model
from tuner.confirmation.values import CONFIRMATION, Confirmation
from tuner.errors import NoResultError
from tuner.study import LoadedStudy, load_study
from tuner.train import find_course
from tuner.worker import WorkerConfig

logger = logging.getLogger(__name__)

_TEST = "test"


def find_best_trial(trials: list[FrozenTrial], direction: str) -> FrozenTrial | None:
    """Return the best complete trial: by value, then fewer epochs, then the lower number.

    A pruned trial is never the best: its value is that of an earlier epoch.
    """
    sign = -1 if direction == "maximize" else 1
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    return min(
        complete,
        key=lambda t: (sign * _value(t), len(t.intermediate_values), t.number),
        default=None,
    )


def get_best_trial(loaded: LoadedStudy) -> FrozenTrial:
    """Return the best complete trial, or raise NoResultError."""
    trials = loaded.study.get_trials(deepcopy=False)
    best = find_best_trial(trials, loaded.spec.direction)
    if best is None:
        states = Counter(trial.state.name for trial in trials)
        found = ", ".join(f"{n} {state}" for state, n in states.items()) or "none"
        raise NoResultError(
            f"Study {loaded.name!r} has no complete trial to choose from (trials: {found}): "
            "see `tuner trials`, or let it run on with `tuner run --trials N`"
        )
    return best


def find_confirmation(loaded: LoadedStudy) -> Confirmation | None:
    """Return what fresh seeds said of this study; None before `tuner confirm`."""
    stored = loaded.study.user_attrs.get(CONFIRMATION)
    return None if stored is None else Confirmation.model_validate(stored)


def find_test_accuracy(loaded: LoadedStudy, trial: FrozenTrial) -> float | None:
    """Return the test accuracy that was measured for this trial, if it was."""
    stored: dict[str, Any] = loaded.study.user_attrs.get(_TEST, {})
    return float(stored["accuracy"]) if stored.get("trial") == trial.number else None


def measure_test_accuracy(config: WorkerConfig) -> None:
    """Score the best trial's model on the test set, and store the result.

    The test set is read here and for a confirmation, nowhere else, once for a choice: a second call
    for the same trial does nothing.
    """
    loaded = load_study(open_storage(config.storage_url), config.study_name)
    best = get_best_trial(loaded)
    if find_test_accuracy(loaded, best) is not None:
        return
    accuracy = score_on_test(config, [best.number])[best.number]
    loaded.study.set_user_attr(_TEST, {"trial": best.number, "accuracy": accuracy})


def score_on_test(config: WorkerConfig, numbers: Sequence[int]) -> dict[int, float]:
    """Return the test accuracies of the models of some complete trials, by number.

    The models are those that workers of this run have left, or else are trained once more, as they
    were.
    """
    import torch

    from objectives.alone import score_state

    loaded = load_study(open_storage(config.storage_url), config.study_name)
    torch.set_num_threads(config.n_threads)
    training = loaded.spec.training_config(data_dir=config.data_dir, device=config.device)
    test = load_test_data(loaded.spec.dataset, data_dir=config.data_dir)
    scores: dict[int, float] = {}
    missing: list[FrozenTrial] = []
    trials = loaded.study.get_trials(deepcopy=False)
    for number in sorted(set(numbers)):
        state = find_model(config.models_dir, number)
        if state is None:
            missing.append(trials[number])
        else:
            scores[number] = score_state(training, state, test)
    return scores | _train_and_score(training, missing, test)


def _train_and_score(
    training: TrainingConfig, trials: Sequence[FrozenTrial], test: Split
) -> dict[int, float]:
    """Train trials once more, those of the same passes side by side."""
    from objectives.alone import Beginning, train_side_by_side

    courses = {trial.number: find_course(trial) for trial in trials}
    scores: dict[int, float] = {}
    for passes in {course.passes for course in courses.values()}:
        together = [trial for trial in trials if courses[trial.number].passes == passes]
        beginnings = [
            Beginning(courses[trial.number].hyperparameters, courses[trial.number].init)
            for trial in together
        ]
        *_, last = train_side_by_side(training, beginnings, passes)
        for trial, trained in zip(together, last, strict=True):
            _check_is_same(trial, trained.result.accuracy)
            scores[trial.number] = trained.score(test)
    return scores


def _check_is_same(trial: FrozenTrial, accuracy: float) -> None:
    if abs(accuracy - _value(trial)) > 0.002:
        logger.warning(
            "Trial %d gave validation accuracy %.4f, trained again %.4f: another device or "
            "torch version?",
            trial.number,
            _value(trial),
            accuracy,
        )


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # a COMPLETE trial has one
    return trial.value
