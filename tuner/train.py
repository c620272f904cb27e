"""One training outside any search: with given hyperparameters, or a trial once more, as it was."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from objectives import EpochResult, Hyperparameters
from objectives.datasets import load_test_data
from tuner.errors import UsageError
from tuner.spec import build_spec
from tuner.study import LoadedStudy


@dataclass(frozen=True)
class TrainRequest:
    """Where and on what to train."""

    data_dir: Path
    device: str
    n_threads: int


def train_once(
    options: Mapping[str, Any], hyperparameters: Hyperparameters, request: TrainRequest
) -> Iterator[tuple[EpochResult, float]]:
    """Train with the training split of a search; yield each epoch with its test accuracy."""
    import torch

    from objectives.alone import Beginning, train_alone
    from objectives.training import choose_device

    spec = build_spec(options)
    if spec.is_function:
        raise UsageError(f"--objective {spec.objective}: only built-in objectives can be trained")
    choose_device(request.device)  # before data is fetched for nothing
    torch.set_num_threads(request.n_threads)
    test = load_test_data(spec.dataset, data_dir=request.data_dir)
    config = spec.training_config(data_dir=request.data_dir, device=request.device)
    for trained in train_alone(config, Beginning(hyperparameters), range(spec.epochs)):
        yield trained.result, trained.score(test)


@dataclass(frozen=True)
class Course:
    """How a trial was trained: its hyperparameters, the number of its initialisation, its passes.

    One that went on from a checkpoint has the initialisation and the first passes of another.
    """

    hyperparameters: Hyperparameters
    init: int
    passes: tuple[int, ...]


def find_course(trial: FrozenTrial) -> Course:
    """Return what a trial has recorded of its training; it has begun to train."""
    own = trial.user_attrs.get("init", trial.number)
    began = trial.user_attrs.get("resumed", {"trial": own, "passes": []})
    first = trial.user_attrs["first_pass"]
    n_own = max(1, len(trial.intermediate_values) - len(began["passes"]))
    return Course(
        Hyperparameters(trial.params["weight_decay"], trial.params["lr"]),
        init=began["trial"],
        passes=(*began["passes"], *range(first, first + n_own)),
    )


def replay_trial(
    loaded: LoadedStudy, number: int, request: TrainRequest
) -> Iterator[tuple[EpochResult, float | None]]:
    """Train a trial once more; yield each epoch with the accuracy that the trial reported.

    The same seeds and batches give the same accuracies within float tolerance, whatever worker
    and neighbours it had.
    """
    import torch

    from objectives.alone import Beginning, train_alone

    trials = loaded.study.get_trials(deepcopy=False)
    if loaded.spec.is_function or not 0 <= number < len(trials):
        raise UsageError(f"Study {loaded.name!r} has no trial {number} that can be replayed")
    trial = trials[number]
    if "first_pass" not in trial.user_attrs:
        raise UsageError(f"Trial {number} ({trial.state.name}) has not begun to train")
    torch.set_num_threads(request.n_threads)
    config = loaded.spec.training_config(data_dir=request.data_dir, device=request.device)
    course = find_course(trial)
    beginning = Beginning(course.hyperparameters, course.init)
    for trained in train_alone(config, beginning, course.passes):
        yield trained.result, trial.intermediate_values.get(trained.result.epoch)
