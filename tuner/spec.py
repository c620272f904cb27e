"""What a study is: a frozen value, validated when built, stored with the study.

A worker needs nothing else than the spec, which it reads from the storage. The budget is not
part of it: it may change while the study runs.
"""

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from objectives import DATASETS, Facts, MetricFacts, ProblemError, TrainingConfig
from objectives.facts import LastBatch, choose_last_batch
from objectives.functions import is_users, is_written_well
from objectives.outline import check_names, outline
from objectives.penalties import Decay
from objectives.problem import Optimizer, Schedule
from objectives.settings import SETTINGS
from objectives.shorthand import find_default
from tuner.confirmation.fresh_seeds import MAX_N_TRIALS
from tuner.errors import ContradictionError, UsageError
from tuner.factory_options import Value, check_options, tell_options
from tuner.ranges import WITH_OPTIONS, as_fields, check_same_ranges, keep_ranges, take_ranges

_MAX_NAME_LENGTH = 250  # a little less than Optuna's column takes
# Ends the name of the study in which another one's candidates meet fresh seeds.
CONFIRM_SUFFIX = "/confirm"

SamplerName = Literal["tpe", "gp", "random", "qmc", "cmaes", "grid"]
PrunerName = Literal["median", "asha", "hyperband", "wilcoxon", "none"]
Direction = Literal["maximize", "minimize"]


def _check_range(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not (0 < low < high and math.isfinite(high)):
        raise ValueError("needs 0 < LOW < HIGH, since the search is log-uniform")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_check_range)]


def _unless_said(**constraints: Any) -> Any:
    """Return a field of which older workers know nothing: not stored when it is None."""
    return Field(default=None, exclude_if=lambda value: value is None, **constraints)


class Spec(BaseModel):
    """The spec of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: str = "simplenet"
    dataset: str = "mnist"
    train_size: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=5, ge=1)
    # Found when the study is created; those of older versions say nothing, and kept it.
    last_batch: LastBatch | None = Field(default=None, exclude_if=lambda fate: fate is None)
    weight_decay: Range = (1e-5, 1e-2)
    lr: Range = (1e-3, 1.0)
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "median"
    seed: int = Field(default=0, ge=0)
    direction: Direction = "maximize"
    # Points of the grid sampler, by parameter of the space. Chosen when the study is created.
    grid: tuple[int, ...] | None = None
    # The searched study whose candidates this one trains on fresh seeds.
    # Not stored when None: older workers know no such field, and a spec keeps its hash.
    confirms: str | None = Field(default=None, exclude_if=lambda name: name is None)

    # What a user's problem said of itself when the study was created; a function says nothing.
    problem: Facts | None = Field(default=None, exclude_if=lambda facts: facts is None)

    # What the user's function is called with that makes the problem.
    objective_options: Annotated[dict[str, Value] | None, AfterValidator(check_options)] = (
        _unless_said()
    )

    # What is said in place of the problem: ranges of a built-in one, values that all trials have,
    # and settings of the training. Not stored when nothing is said.
    search: dict[str, dict[str, Any]] | None = _unless_said()
    fixed: dict[str, Any] | None = _unless_said()
    label_noise: float | None = _unless_said(ge=0, lt=1)
    strength: str | None = _unless_said()
    optimizer: Optimizer | None = _unless_said()
    nesterov: bool | None = _unless_said()
    schedule: Schedule | None = _unless_said()
    decay: Decay | None = _unless_said()
    decays: Literal["all", "matrices"] | None = _unless_said()
    proximal: bool | None = _unless_said()
    clip_norm: float | None = _unless_said(gt=0)
    patience: int | None = _unless_said(ge=1)
    folds: int | None = _unless_said(ge=2)
    validation: float | None = _unless_said(gt=0)
    test: float | None = _unless_said(ge=0)

    # Whether trials that have failed teach the sampler as the worst there are (tpe).
    learn_from_failures: bool = Field(default=True, exclude_if=lambda learns: learns)

    # Options that nobody could tell from defaults, of an objective that nobody has looked at yet:
    # they, too, have precedence over what a problem says of itself.
    stated: tuple[str, ...] | None = _unless_said()

    @property
    def is_users(self) -> bool:
        """Tell whether the objective is in somebody's own module."""
        return is_users(self.objective)

    @property
    def is_function(self) -> bool:
        """Tell whether the objective is somebody's function, of which nothing is known."""
        return self.is_users and self.problem is None

    @property
    def fate_of_last_batch(self) -> LastBatch | None:
        """What becomes of an epoch's smaller last batch; None: as the objective has it."""
        return self.last_batch or (None if self.is_users else "keep")

    @cached_property
    def facts(self) -> Facts:
        """What is known of the objective."""
        if self.is_users:
            return self.problem or Facts(MetricFacts(direction=self.direction))
        return outline(
            self.objective,
            self.dataset,
            {**self.settings, "search": self._ranges, "fixed": self.fixed},
            n_train=self.train_size,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What is said of the training in place of the problem, by name."""
        found = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def _ranges(self) -> dict[str, Any]:
        """What a built-in problem searches; λ's own field counts where λ is asked about."""
        own = {"weight_decay": self.weight_decay, "lr": self.lr}
        if self.strength not in (None, "weight_decay"):
            del own["weight_decay"]
        found = {name: bounds for name, bounds in own.items() if name not in (self.fixed or {})}
        return {**found, **(self.search or {})}

    def training_config(self, *, data_dir: Path, device: str) -> TrainingConfig:
        """Return what a built-in objective has to know of the study."""
        return TrainingConfig(
            objective=self.objective,
            dataset=self.dataset,
            seed=self.seed,
            batch_size=self.batch_size,
            epochs=self.epochs,
            last_batch=self.fate_of_last_batch,
            train_size=self.train_size,
            data_dir=data_dir,
            device=device,
            code=None if self.problem is None else self.problem.code,
            data=None if self.problem is None else self.problem.data,
            space=self.facts.space,
            settings=self.settings,
            fixed=self.fixed or {},
            label_noise=self.label_noise or 0.0,
            objective_options=self.objective_options or {},
        )

    @property
    def options(self) -> dict[str, Any]:
        """What the study was created with, as ``build_spec`` takes it."""
        stated = {name: getattr(self, name) for name in self.stated or ()}
        return {**self.model_dump(exclude_defaults=True, exclude={"stated"}), **stated}

    @property
    def hash(self) -> str:
        """A short digest of the spec, equal for equal specs."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _check_names(self) -> "Spec":
        if self.is_users:
            if not is_written_well(self.objective):
                raise ValueError(
                    f"objective {self.objective!r} is not written as package.module:function or "
                    "file.py:function"
                )
            return self
        check_names(self.objective, self.dataset)
        n_train = DATASETS[self.dataset].n_train
        if self.train_size is not None and self.train_size > n_train:
            raise ValueError(
                f"--train-size {self.train_size}: {self.dataset} has {n_train} training images"
            )
        if self.direction == "minimize":
            raise ValueError(f"--direction minimize: {self.objective} reports an accuracy")
        if self.label_noise and not DATASETS[self.dataset].n_classes:
            raise ValueError(f"--label-noise: {self.dataset} has numbers, not classes, as targets")
        try:
            _ = self.facts
        except ProblemError as error:
            raise ValueError(str(error)) from error
        return self


_FLAGS = {"fixed": "fix", "objective_options": "objective-option"}
# What a user's objective states itself; these fields would be silently ignored.
_NOT_FOR_PROBLEMS = ("dataset", "train_size", "label_noise")
# Built-in data sets come in parts, and no function of anybody's makes a built-in problem.
_NOT_FOR_BUILTINS = ("validation", "test", "objective_options")
_NOT_FOR_FUNCTIONS = (
    *_NOT_FOR_PROBLEMS,
    *("batch_size", "last_batch", "weight_decay", "lr", "search", "fixed", *SETTINGS),
)


def _explain_own(spec: "Spec", name: str) -> str:
    if name == "objective_options":
        return "its model's arguments are those of --search and --fix"
    if spec.is_function:
        return "a function states its own search space and data"
    return "a problem has its own data" if spec.is_users else "its data set comes in parts"


def _without_effect(spec: "Spec") -> tuple[str, ...]:
    if spec.is_function:
        return _NOT_FOR_FUNCTIONS
    return _NOT_FOR_PROBLEMS if spec.is_users else _NOT_FOR_BUILTINS


def build_spec(options: Mapping[str, Any]) -> Spec:
    """Build a spec from the options that were given, the rest being defaults.

    Raises UsageError, in one line with the value and the remedy. A function is not imported.
    """
    spec = read_options(options)
    _check_effects(spec, options, _without_effect(spec))
    return spec


def build_unseen_spec(options: Mapping[str, Any]) -> Spec:
    """Build the spec of an objective that nobody has looked at: it may turn out to be a problem.

    What only a problem takes is kept for the crew that looks. Raises UsageError.
    """
    kept = keep_ranges(options)
    spec = _read(kept)
    _check_effects(spec, options, _NOT_FOR_PROBLEMS)
    fields = Spec.model_fields
    stated = [n for n in ("epochs", "batch_size") if kept.get(n) == fields[n].default]
    return spec.model_copy(update={"stated": tuple(stated) or None})


def _check_effects(spec: Spec, options: Mapping[str, Any], without: tuple[str, ...]) -> None:
    """Refuse options that would have no effect, and samplers and pruners that cannot work."""
    if spec.is_function and spec.sampler == "grid":
        raise UsageError("Sampler 'grid' needs a search space that is known before any trial")
    if spec.pruner == "wilcoxon" and not spec.is_function:
        raise UsageError(
            f"--pruner wilcoxon compares folds that a function reports as steps, and the steps of "
            f"{spec.objective} are epochs: choose median, asha or hyperband"
        )
    for name in without:
        if name in options:
            raise UsageError(
                f"--{_FLAGS.get(name, name).replace('_', '-')} has no effect on {spec.objective}: "
                f"{_explain_own(spec, name)}"
            )


def read_options(options: Mapping[str, Any]) -> Spec:
    """Build a spec whose objective may turn out to be a problem; raises UsageError.

    ``search`` holds ranges by name; those of a problem stand in what it says of itself.
    """
    if is_users(options.get("objective", "")):
        return _read({name: value for name, value in options.items() if name != "search"})
    return _read(as_fields(options))


def _read(fields: Mapping[str, Any]) -> Spec:
    try:
        return Spec(**fields)
    except ValidationError as error:
        raise UsageError(_first_message(error)) from error


def build_new_spec(options: Mapping[str, Any]) -> Spec:
    """Build the spec of what is trained for the first time; raises UsageError."""
    spec = build_spec(_with_ranges(options))
    data = spec.facts.data
    if not spec.is_users and data is not None and spec.batch_size > data.n_train:
        raise UsageError(
            f"--batch-size {spec.batch_size}: there are {data.n_train} training examples; give at "
            "most that many"
        )
    if spec.is_users or spec.last_batch is not None or data is None:
        return spec
    return spec.model_copy(update={"last_batch": choose_last_batch(data.n_train, spec.batch_size)})


def find_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that make a problem, or precede what it says of itself."""
    names = ("epochs", "batch_size", "last_batch", "fixed", "objective_options", *SETTINGS)
    given = {name: options[name] for name in names if name in options}
    return {**given, "search": take_ranges(options)[0], "seed": options.get("seed", 0)}


def with_description(options: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a problem's study, with what the problem says of itself."""
    (_, others), facts = take_ranges(options), description["facts"]
    said = {name: each for name, each in description.items() if name != "facts"}
    return {**said, **others, "problem": facts, "direction": facts["metric"]["direction"]}


def _with_ranges(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options with the ranges that suit an optimizer where it was given, and they not."""
    optimizer: Any = options.get("optimizer")
    if optimizer not in get_args(Optimizer) or is_users(options.get("objective", "")):
        return options
    given = {*options, *(options.get("search") or {}), *(options.get("fixed") or {})}
    names = [name for name in WITH_OPTIONS if name not in given]
    return {**{name: find_default(name, optimizer) for name in names}, **options}


def check_name_and_budget(name: str, n_trials: int | None) -> None:
    """Refuse a name that no study may be given, or trials that no database takes (UsageError)."""
    if not (name.strip() and name.isprintable() and len(name) <= _MAX_NAME_LENGTH):
        raise UsageError(
            f"--study {name[:40]!r}: a name has 1 to {_MAX_NAME_LENGTH} printable characters"
        )
    if _letters(name).endswith(CONFIRM_SUFFIX):
        raise UsageError(
            f"--study {name!r}: names that end in {CONFIRM_SUFFIX} are those of confirmations, "
            "which `tuner confirm` makes; choose another"
        )
    if n_trials is not None and not 0 < n_trials <= MAX_N_TRIALS:
        raise UsageError(f"--trials {n_trials}: a budget is 1 to {MAX_N_TRIALS} trials")


def _letters(name: str) -> str:
    """Return what MariaDB compares of a name: no case, no accents, no blanks at the end."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in letters if not unicodedata.combining(c)).rstrip()


def check_same_spec(study_name: str, stored: Spec, options: Mapping[str, Any]) -> None:
    """Refuse options that contradict the study they are meant to resume (ContradictionError)."""
    ranges: Mapping[str, Any] = {}
    if stored.problem is not None:
        ranges, options = take_ranges(options)
    else:
        options = keep_ranges(options) if stored.is_users else as_fields(options)
        ranges = options.get("search", {})
    build = build_unseen_spec if stored.is_function else build_spec
    asked = build({**stored.options, **options})
    for name in options.keys() - {"search"}:
        was, now = getattr(stored, name), getattr(asked, name)
        if was != now:
            raise ContradictionError(
                f"Study {study_name!r} was created with {name} {_show(was)}, not {_show(now)}: "
                "leave the option out to resume it, or choose another --study"
            )
    check_same_ranges(study_name, stored.facts.space or stored.search or {}, ranges)


def _show(value: object) -> str:
    if value is None:
        return "as it is by itself"
    if isinstance(value, Mapping):
        return tell_options(value)
    return " ".join(f"{bound:g}" for bound in value) if isinstance(value, tuple) else str(value)


def _first_message(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        is_word = message.partition(" ")[0].isalpha()  # or a name, as of a parameter
        return message[:1].upper() + message[1:] if is_word else message
    option = "--" + str(first["loc"][0]).replace("_", "-")
    value = first["input"]
    shown = _show(tuple(value)) if isinstance(value, tuple | list) else repr(value)
    return f"{option} {shown}: {message[:1].lower()}{message[1:]}"
