"""What passes between a coordinator and its trainers; plain values, light to import.

From the trainer come lists ``[kind, ...]``: ``ready n_lanes program``, ``refused kind text``,
``problem objective description``, ``report number step value``, ``ended number outcome``, and
``call name arguments``, which waits for a reply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Seat:
    """Where a trainer sits: what is the same for all its trials, and its replacements.

    ``slot`` is its place in the crew: 0, 1, ...; ``devices`` are those of the crew, of which it
    gets one.
    """

    slot: int
    folder: str  # the coordinator's current directory when it started
    environment: Mapping[str, str]
    arguments: Sequence[str]
    n_threads: int
    devices: Sequence[str]
    log_level: int
    log_format: str
    about: Mapping[str, str]  # for the log: study and worker


@dataclass(frozen=True)
class FunctionWork:
    """Trials of a user's function; ``objective`` names it, ``seed`` is the study's.

    ``given`` is what the study was created with, should the objective turn out to be a problem.
    """

    objective: str
    seed: int
    given: Mapping[str, Any]
    study_id: int
    study_name: str
    directions: Sequence[str]


@dataclass(frozen=True)
class LaneWork:
    """Trials of a problem; ``training`` is an ``objectives.TrainingConfig``."""

    training: Any
    epochs: int
    has_fresh_seeds: bool
    n_lanes: int | None
    patience: int | None
    maximizes: bool
    study_name: str
    spec_hash: str
    checkpoint_dir: Path | None
    models_dir: Path | None


@dataclass(frozen=True)
class Opening:
    """Open what trainers are to train, and be what they are forked from."""

    work: LaneWork


@dataclass(frozen=True)
class Job:
    """A function, named as ``module:function``, to be called once where torch is; its result is
    JSON."""

    function: str
    argument: Any


@dataclass(frozen=True)
class TrainedTrial:
    """A complete trial of a built-in objective, and all that it takes to train it once more."""

    number: int
    params: Mapping[str, Any]
    init: int  # the number of its initialisation
    passes: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class ScoreRequest:
    """Which trials' models to score; ``training`` is an ``objectives.TrainingConfig``."""

    training: Any
    n_threads: int
    models_dir: Path | None
    trials: Sequence[TrainedTrial]


@dataclass(frozen=True)
class StartLane:
    """Train this trial: ``first`` is the number of the one that it reruns, or its own."""

    number: int
    first: int
    params: Mapping[str, Any]
    fresh_seed: int | None


@dataclass(frozen=True)
class StartFunction:
    """Call the function with this trial, an ``optuna.trial.FrozenTrial``.

    ``relative`` holds what the sampler has chosen for it already, by the parameter's name: its
    distribution and the value, as Optuna has them. ``pruner``, an Optuna pruner, decides as the
    coordinator's would until the order ``ask`` comes; without one the coordinator is asked.
    """

    number: int
    trial: Any
    relative: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    pruner: Any = None


@dataclass(frozen=True)
class Reply:
    """The answer to a call: its result, or the error that it raises there."""

    result: Any = None
    error: tuple[str, str] | None = None  # the name of a built-in exception, and its message


@dataclass(frozen=True)
class Order:
    """What a trainer is told at any time: ``pause``, ``resume``, ``lost`` (of a trial), ``end``,
    ``ask`` (whether to prune, as other trials have ended)."""

    name: str
    number: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended in its trainer: the coordinator decides what becomes of it.

    ``error_kinds`` are the names of the raised exception's classes.
    """

    state: str
    values: Sequence[float] | None = None
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    error_kinds: Sequence[str] = ()
    traceback: str | None = None
    wants_new_process: bool = False
