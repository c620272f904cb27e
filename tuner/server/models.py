"""What the API takes and gives, as pydantic models: its OpenAPI document is made from these.

Moments are ISO 8601 in UTC. A number that JSON cannot hold, say an infinite value, is null.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from objectives.facts import LastBatch
from objectives.penalties import Decay
from objectives.problem import Optimizer, Schedule
from tuner.confirmation.fresh_seeds import MAX_N_TRIALS
from tuner.ranges import read_ranges
from tuner.spec import Direction, PrunerName, SamplerName

State = Literal["open", "paused", "stopped"]
TrialState = Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"]

# What a database's integers and a clock can hold; none of them is a sensible wish.
_LONGEST_SECONDS = 10 * 365 * 86400.0
_LARGEST_INTEGER = 2**31 - 1

NTrials = Annotated[int, Field(ge=1, le=MAX_N_TRIALS, description="Trials to finish in all.")]
TimeoutSeconds = Annotated[
    float, Field(gt=0, le=_LONGEST_SECONDS, description="Start no trial later than this from now.")
]
MaxRetries = Annotated[
    int, Field(ge=0, le=1000, description="How often a trial is run again whose worker died.")
]
Priority = Annotated[
    int, Field(ge=-1000, le=1000, description="Workers of all studies serve the highest first.")
]
Count = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER)]
Bounds = tuple[float, float]


class _Taken(BaseModel):
    """What clients send: keys that are not known are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True)


class Problem(_Given):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "There is no study 'digits'",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str


class SpecOptions(_Taken):
    """Options of a study's spec, as `tuner create` has them; what is left out keeps its default."""

    objective: str | None = Field(
        default=None, max_length=200, description="Built in, or module:function."
    )
    objective_options: dict[str, str | bool | int | float | None] | None = Field(
        default=None, description="What the function takes that makes the problem, by name."
    )
    dataset: str | None = Field(default=None, max_length=200)
    train_size: Count | None = None
    batch_size: Count | None = None
    last_batch: LastBatch | None = Field(
        default=None, description="What becomes of an epoch's smaller last batch."
    )
    epochs: Count | None = None
    weight_decay: Bounds | None = Field(
        default=None, description="Range of λ searched, log-uniform."
    )
    lr: Bounds | None = Field(default=None, description="Range of the learning rate, log-uniform.")
    search: dict[str, dict[str, Any] | Annotated[str, Field(max_length=1000)]] | None = Field(
        default=None,
        description="What else is searched, by name: Optuna's distributions as JSON, or LOW..HIGH, "
        "LOW..HIGH:log and a,b,c as --search has them.",
    )
    fixed: dict[str, str | bool | int | float | None] | None = Field(
        default=None, description="What is the same for all trials, by name."
    )
    label_noise: Annotated[float, Field(ge=0, lt=1)] | None = None
    strength: str | None = Field(default=None, max_length=200, description="What is asked about.")
    optimizer: Optimizer | None = None
    nesterov: bool | None = None
    schedule: Schedule | None = None
    decay: Decay | None = Field(default=None, description="How weight_decay acts.")
    decays: Literal["all", "matrices"] | None = Field(
        default=None, description="What decays, and has penalties."
    )
    proximal: bool | None = Field(default=None, description="L1 acts by proximal steps.")
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    patience: Count | None = Field(
        default=None, description="Epochs without a better one that end a trial."
    )
    folds: Annotated[int, Field(ge=2, le=_LARGEST_INTEGER)] | None = Field(
        default=None, description="Folds of the data that a trial is the mean over."
    )
    validation: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Share of the data, or number of examples."
    )
    test: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Share of the data, or number of examples."
    )
    sampler: SamplerName | None = None
    pruner: PrunerName | None = None
    learn_from_failures: bool | None = Field(
        default=None, description="Take failed trials for the worst there are (tpe)."
    )
    seed: Annotated[int, Field(ge=0, le=_LARGEST_INTEGER)] | None = None
    direction: Direction | None = None

    def given(self) -> dict[str, Any]:
        """Return what was given, as the command line's options are."""
        found = self.model_dump(exclude_none=True)
        texts = [f"{n}={each}" for n, each in (self.search or {}).items() if isinstance(each, str)]
        return {**found, "search": found["search"] | read_ranges(texts)} if texts else found


class BrakeOptions(_Taken):
    """What ends a study, or a trial, that only costs; what is left out stays, or is the default."""

    max_failures: Annotated[int, Field(ge=0, le=_LARGEST_INTEGER)] | None = Field(
        default=None, description="Failures in a row that stop the study; 0: any number."
    )
    trial_timeout: TimeoutSeconds | None = Field(default=None, description="Seconds.")
    silence_timeout: TimeoutSeconds | None = Field(default=None, description="Seconds.")
    retry_on: list[Annotated[str, Field(max_length=200)]] | None = Field(
        default=None, max_length=50, description="out-of-memory, or names of exceptions."
    )
    trials_per_process: Count | None = None

    def given(self) -> dict[str, Any]:
        """Return what was given."""
        return self.model_dump(exclude_none=True)


class NewStudy(_Taken):
    """A study to create; one of this name and spec that is there is resumed."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "digits",
                "spec": {"dataset": "digits", "epochs": 3},
                "n_trials": 20,
                "priority": 1,
            }
        }
    )

    name: str = Field(min_length=1, max_length=250)
    spec: SpecOptions = Field(default_factory=SpecOptions)
    n_trials: NTrials | None = None
    timeout_seconds: TimeoutSeconds | None = None
    max_retries: MaxRetries | None = None
    priority: Priority | None = None
    brakes: BrakeOptions = Field(default_factory=BrakeOptions)
    warm_start: str | None = Field(
        default=None, max_length=250, description="Study whose complete trials teach the sampler."
    )
    confirm: bool = Field(
        default=True, description="Let workers of all studies confirm λ once the search is over."
    )


class ConfirmationOptions(_Taken):
    """How to confirm a study."""

    n_seeds: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        default=None, description="Fresh seeds that choose λ, but two more, and others to check it."
    )


class StudyChange(_Taken):
    """What to change of a study's budget; what is left out stays, a null timeout ends it."""

    model_config = ConfigDict(json_schema_extra={"example": {"n_trials": 50, "priority": 2}})

    n_trials: NTrials | None = None
    timeout_seconds: TimeoutSeconds | None = None
    max_retries: MaxRetries | None = None
    priority: Priority | None = None


class StudySummary(_Given):
    """A study in the list."""

    name: str
    state: State
    priority: int
    created_at: str | None
    n_trials: int
    n_finished: int
    n_in_training: int


class StudyPage(_Given):
    """A page of the list of studies, the newest first."""

    studies: list[StudySummary]
    total: int
    limit: int
    offset: int


class BestTrial(_Given):
    """The best trial of a search so far."""

    trial: int
    value: float | None
    params: dict[str, Any]


class WorkerStatus(_Given):
    """A worker that has not signed off; moments are seconds since 1970, by the database's clock."""

    worker_id: int
    host: str
    pid: int
    started_at: float
    seen_at: float
    n_lanes: int
    n_trials_in_training: int
    is_lost: bool


class WorkerList(_Given):
    """The workers of a study."""

    workers: list[WorkerStatus]


class ConfirmationStudy(_Given):
    """How far the study is in which the candidates meet fresh seeds."""

    study: str
    state: State
    n_trials: int
    n_finished: int
    n_in_training: int
    eta_seconds: float | None


class ConfirmationWish(_Given):
    """What has become of the wish to confirm a study."""

    state: Literal["waiting", "done", "refused"]
    why_not: str | None


class StudyStatus(_Given):
    """A study's progress, as `tuner status --json` tells it, less where the database is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "study": "digits",
                "state": "open",
                "priority": 0,
                "n_trials": 20,
                "n_finished": 12,
                "n_given_back": 0,
                "states": {"RUNNING": 4, "COMPLETE": 8, "PRUNED": 4},
                "best": {
                    "trial": 3,
                    "value": 0.97,
                    "params": {"weight_decay": 0.0004, "lr": 0.2},
                },
                "workers": [],
                "eta_seconds": 4.2,
                "is_spent": False,
                "confirmation": {"state": "waiting", "why_not": None},
                "confirmation_study": None,
                "program": "4 trials side by side, by the problem's own program",
                "why_not": None,
            }
        }
    )

    study: str
    state: State
    priority: int
    n_trials: int
    n_finished: int
    n_given_back: int
    states: dict[TrialState, int]
    best: BestTrial | None
    workers: list[WorkerStatus]
    eta_seconds: float | None
    is_spent: bool
    confirmation: ConfirmationWish | None
    confirmation_study: ConfirmationStudy | None
    program: str | None
    why_not: str | None = Field(description="What kept the worker that came last from training.")


class CreatedStudy(StudyStatus):
    """A study as it was created or found, with its whole spec."""

    spec: dict[str, Any]


class StateChange(_Given):
    """A study's new state, which its workers obey within an epoch."""

    study: str
    state: State


class Trial(_Given):
    """A trial, as `tuner trials --json` tells it."""

    number: int
    state: TrialState
    value: float | None
    params: dict[str, Any]
    epochs: int
    started_at: str | None
    seconds: float | None
    worker: str | None
    note: str | None


class TrialPage(_Given):
    """A page of a study's trials."""

    trials: list[Trial]
    total: int
    limit: int
    offset: int
