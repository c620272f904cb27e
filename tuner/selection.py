"""From finished trials to the answer: the best trial, and its one look at the test set."""

import logging
from collections import Counter
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from objectives import TrainingConfig
from objectives.datasets import Split, load_test_data
from storage import open_storage
from tuner.checkpoints import find_model
from tuner.errors import NoResultError
from tuner.study import LoadedStudy, load_study
from tuner.train import train_trial_again
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


def find_test_accuracy(loaded: LoadedStudy, trial: FrozenTrial) -> float | None:
    """Return the test accuracy that was measured for this trial, if it was."""
    stored: dict[str, Any] = loaded.study.user_attrs.get(_TEST, {})
    return float(stored["accuracy"]) if stored.get("trial") == trial.number else None


def measure_test_accuracy(config: WorkerConfig) -> None:
    """Score the best trial's model on the test set, and store the result.

    The model is the one that a worker of this run has left, or else is trained once more, as it
    was. The test set is read here and nowhere else, once for a choice: a second call for the same
    trial does nothing.
    """
    import torch

    loaded = load_study(open_storage(config.storage_url), config.study_name)
    best = get_best_trial(loaded)
    if find_test_accuracy(loaded, best) is not None:
        return
    torch.set_num_threads(config.n_threads)
    training = loaded.spec.training_config(data_dir=config.data_dir, device=config.device)
    state = find_model(config.models_dir, best.number)
    test = load_test_data(loaded.spec.dataset, data_dir=config.data_dir)
    if state is None:
        accuracy = _train_and_score(training, best, test)
    else:
        from objectives.alone import score_state

        accuracy = score_state(training, state, test)
    loaded.study.set_user_attr(_TEST, {"trial": best.number, "accuracy": accuracy})


def _train_and_score(training: TrainingConfig, best: FrozenTrial, test: Split) -> float:
    *_, (last, score_on) = train_trial_again(training, best)
    if abs(last.accuracy - _value(best)) > 0.002:
        logger.warning(
            "Trial %d gave validation accuracy %.4f, trained again %.4f: another device or "
            "torch version?",
            best.number,
            _value(best),
            last.accuracy,
        )
    return score_on(test)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # a COMPLETE trial has one
    return trial.value
