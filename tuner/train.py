"""One training outside any search: with given hyperparameters, or a trial once more, as it was."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from objectives import EpochResult, Params
from objectives.functions import is_users
from tuner.compact import unpack_passes
from tuner.errors import UsageError
from tuner.ranges import tell_range
from tuner.spec import Spec, build_new_spec
from tuner.study import LoadedStudy
from tuner.workers.jobs import describe_problem

_OPTIONS = {"weight_decay": "--weight-decay X", "lr": "--lr X"}


@dataclass(frozen=True)
class TrainRequest:
    """Where and on what to train."""

    data_dir: Path
    device: str
    n_threads: int


def plan_training(options: Mapping[str, Any], params: Params) -> Spec:
    """Return the spec of a training outside of any search; a problem is tried with its parameters.

    Raises UsageError for a function, and where parameters are missing, ObjectiveError.
    """
    options = {**options, "search": {name: [value] for name, value in params.items()}}
    if is_users(options.get("objective", "")):
        described = describe_problem(options)
        if described is None:
            raise UsageError(
                f"--objective {options['objective']}: a function of a trial is trained by a study "
                "alone, a problem by itself, too"
            )
        options = described
    spec = build_new_spec(options)
    space = spec.facts.space or {}
    if missing := [name for name in space if name not in params]:
        told = ", ".join(tell_range(name, space[name]) for name in missing)
        flags = " ".join(_OPTIONS.get(name, f"--set {name}=VALUE") for name in missing)
        raise UsageError(f"{spec.objective} searches {told}: give {flags}")
    return spec


def train_once(
    spec: Spec, params: Params, request: TrainRequest
) -> Iterator[tuple[EpochResult, float]]:
    """Train with the training split of a search; yield each epoch with its value on the test part.

    Where there is none it is that on the validation part.
    """
    import torch

    from objectives.alone import Beginning, train_alone
    from objectives.device import choose_device

    choose_device(request.device)  # before data is fetched for nothing
    torch.set_num_threads(request.n_threads)
    config = spec.training_config(data_dir=request.data_dir, device=request.device)
    for trained in train_alone(config, Beginning(params), range(spec.epochs)):
        yield trained.result, trained.test_value() if has_test_part(spec) else trained.result.value


def has_test_part(spec: Spec) -> bool:
    """Tell whether an objective's data has examples that no search sees."""
    return spec.facts.data is not None and spec.facts.data.n_test > 0


@dataclass(frozen=True)
class Course:
    """How a trial was trained: its parameters, the number of its initialisation, its passes.

    One that went on from a checkpoint has the initialisation and the first passes of another.
    """

    params: Params
    init: int
    passes: tuple[int, ...]


def find_course(trial: FrozenTrial) -> Course:
    """Return what a trial has recorded of its training; it has begun to train."""
    own = trial.user_attrs.get("init", trial.number)
    began = trial.user_attrs.get("resumed", {"trial": own, "passes": []})
    first = trial.user_attrs["first_pass"]
    passes = unpack_passes(began["passes"])
    n_own = max(1, len(trial.intermediate_values) - len(passes))
    return Course(
        trial.params,
        init=began["trial"],
        passes=(*passes, *range(first, first + n_own)),
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

    if not loaded.spec.facts.can_train_again:
        raise UsageError(f"Study {loaded.name!r} has no trial {number} that can be replayed")
    trial = loaded.get_trial(number)
    if "first_pass" not in trial.user_attrs:
        raise UsageError(f"Trial {number} ({trial.state.name}) has not begun to train")
    torch.set_num_threads(request.n_threads)
    config = loaded.spec.training_config(data_dir=request.data_dir, device=request.device)
    course = find_course(trial)
    beginning = Beginning(course.params, course.init)
    for trained in train_alone(config, beginning, course.passes):
        yield trained.result, trial.intermediate_values.get(trained.result.epoch)
