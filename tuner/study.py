"""Create or load a study: its spec and its budget."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from objectives import ProblemFoundError
from objectives.functions import is_users
from storage import (
    ORIGIN,
    Budget,
    StudyState,
    WorkerStorage,
    change_budget,
    creation_lock,
    find_budget,
    find_directions,
    find_state,
    found_study,
    is_own,
    open_storage,
    set_spec,
)
from tuner.brakes import change_brakes, load_brakes
from tuner.errors import StudyNotFoundError, UsageError
from tuner.foreign import (
    check_directions,
    check_may_be_adopted,
    explain_empty,
    explain_lost_budget,
    mend,
    read_spec,
)
from tuner.samplers import make_pruner, make_sampler
from tuner.sampling.grid import find_shape
from tuner.space import find_space
from tuner.spec import (
    CONFIRM_SUFFIX,
    Spec,
    build_new_spec,
    build_spec,
    build_unseen_spec,
    check_name_and_budget,
    check_same_spec,
    with_description,
)
from tuner.warm_start import Teacher

T = TypeVar("T")

DEFAULT_N_TRIALS = 50

SPEC = "spec"  # the attribute that makes a study ours
SPEC_HASH = "spec_hash"
CODE = "tuner:code"  # a digest of a function's module, as the crew that came last has it
WHY_NOT = "why_not"  # what kept the worker that came last from training it
PROGRAM = "program"  # how the worker that came last trains its trials, in words


@dataclass(frozen=True)
class LoadedStudy:
    """An Optuna study with the spec that was stored with it."""

    study: optuna.Study
    study_id: int
    spec: Spec
    storage: RDBStorage
    origin: str | None = None  # what tells its own trials from those of other programs

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study_name

    def load_budget(self) -> Budget:
        """Return the budget as it is now; raises StudyNotFoundError if there is none any more."""
        return self._there_still(find_budget(self.storage.engine, self.study_id))

    def load_state(self) -> StudyState:
        """Return the state as it is now, which costs less; raises as `load_budget` does."""
        return self._there_still(find_state(self.storage.engine, self.study_id))

    def _there_still(self, found: T | None) -> T:
        if found is None:
            if not find_directions(self.storage.engine, self.study_id):
                raise StudyNotFoundError(f"Study {self.name!r} has no budget: it has been deleted")
            raise StudyNotFoundError(explain_lost_budget(self.name))
        return found

    def get_trial(self, number: int) -> FrozenTrial:
        """Return the trial of this number, wherever it is in the list; raises UsageError.

        Optuna cannot delete trials, so people do it by SQL: the others keep their numbers.
        """
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.number == number:
                return trial
        last = max((trial.number for trial in trials), default=-1)
        why = "it was deleted?" if number < last else f"its last is {last}" if trials else "nor any"
        raise UsageError(f"Study {self.name!r} has no trial {number}: {why}")

    def own(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return those of the study's trials that our workers trained in it.

        Those of other programs teach the sampler, but they are no answer.
        """
        return [trial for trial in trials if is_own(trial, self.origin)]

    def own_trials(self) -> list[FrozenTrial]:
        """Return the trials that our workers trained in this study, by number."""
        return self.own(self.study.get_trials(deepcopy=False))


def create_or_resume(  # noqa: PLR0913 (keywords that may be left out)
    storage: RDBStorage,
    name: str,
    options: Mapping[str, Any],
    *,
    n_trials: int | None = None,
    timeout_seconds: float | None = None,
    max_retries: int | None = None,
    priority: int | None = None,
    brakes: Mapping[str, Any] | None = None,
    warm_start: str | None = None,
) -> LoadedStudy:
    """Create the study with these spec options, or resume it if it exists.

    A resumed study keeps its spec: options that contradict it raise UsageError. ``n_trials`` is
    its budget (None: the default for a new study, unchanged for an old one), ``timeout_seconds``
    the time it has from now on, ``max_retries`` how often a trial is run again whose worker died,
    ``priority`` the place among others for workers that serve all studies, ``brakes`` those fields
    of ``tuner.brakes.Brakes`` that were given, ``warm_start`` the study of this storage whose
    complete trials teach the sampler. A function objective is not imported: see
    ``tuner.workers.jobs``. What other programs have made of the study is mended: its direction, a
    budget that a copy has not got.
    Safe when many processes create the same study at once.
    """
    check_name_and_budget(name, n_trials)
    teacher = None if warm_start is None else _load_teacher(storage, warm_start)
    with creation_lock(storage.url):
        found = _find(storage, name)
        if found is None:
            n_trials = n_trials or DEFAULT_N_TRIALS
            found = _create(storage, name, options, n_trials, teacher)
        else:
            check_same_spec(name, found.spec, options)
            if teacher is not None:
                teacher.check(name, found.spec)
            mend(storage.engine, found.study_id, name, found.spec, DEFAULT_N_TRIALS)
        change_budget(
            storage.engine,
            found.study_id,
            n_trials=n_trials,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
            priority=priority,
        )
        change_brakes(found.study, brakes or {})
        if teacher is not None:
            teacher.teach(storage.engine, found.study_id, found.spec)
    return found


def _load_teacher(storage: RDBStorage, name: str) -> Teacher:
    loaded = load_study(storage, name)
    trials = loaded.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return Teacher(name, loaded.spec, trials)


def open_confirmation(searched: LoadedStudy) -> LoadedStudy:
    """Create or load the study in which candidates of a searched study meet fresh seeds.

    A new one has a budget of no trials. Raises UsageError if there is one by that name whose trials
    were trained otherwise. Safe when many processes create it at once.
    """
    storage, name = searched.storage, confirmation_name(searched.name)
    own = {"sampler": "random", "pruner": "none", "grid": None, "confirms": searched.name}
    options = {**searched.spec.model_dump(exclude_defaults=True), **own}
    with creation_lock(storage.url):
        found = _find(storage, name) or _create(storage, name, options, n_trials=0)
        mend(storage.engine, found.study_id, name, found.spec, n_trials=0)
        found = _follow(found, searched.name)
    if found.spec != Spec(**options):
        raise UsageError(
            f"Study {name!r} does not confirm study {searched.name!r} as it is now: delete it, or "
            "search under another name"
        )
    change_brakes(found.study, load_brakes(searched.study).model_dump(exclude_defaults=True))
    budget = searched.load_budget()
    change_budget(
        storage.engine,
        found.study_id,
        n_trials=None,
        timeout_seconds=None,
        max_retries=budget.max_retries,
        priority=budget.priority,
    )
    return found


def take_description(loaded: LoadedStudy, found: ProblemFoundError) -> LoadedStudy:
    """Store in a study what its objective, found to be a problem, says of itself; return it.

    What was given to the study has precedence. Safe when many workers find it at once. Raises
    ``found`` if trials of the study were trained already.
    """
    with creation_lock(loaded.storage.url):
        now = load_study(loaded.storage, loaded.name)
        if now.spec.problem is not None:
            return now
        if now.own_trials():
            raise found
        spec = build_spec(with_description(now.spec.options, found.description))
        set_spec(now.storage.engine, now.study_id, spec.direction, describe_spec(spec))
        _name_metric(now.study, spec)
    return load_study(loaded.storage, loaded.name)


def _follow(found: LoadedStudy, searched_name: str) -> LoadedStudy:
    """Let a confirmation that was copied or renamed confirm the study that its name says."""
    if found.spec.confirms == searched_name:
        return found
    spec = found.spec.model_copy(update={"confirms": searched_name})
    set_spec(found.storage.engine, found.study_id, spec.direction, describe_spec(spec))
    return replace(found, spec=spec)


def confirmation_name(name: str) -> str:
    """Return the name of the study that confirms the study of this name."""
    return name + CONFIRM_SUFFIX


def load_study_to_read(storage_url: str, name: str) -> LoadedStudy:
    """Open a storage only to look, and load a study of ours, also one that has lost its budget.

    Raises StudyNotFoundError as `load_study` does, and StorageError.
    """
    return load_study_as_it_is(open_storage(storage_url, read_only=True), name)


def load_study(storage: RDBStorage, name: str) -> LoadedStudy:
    """Load a study of ours, or raise StudyNotFoundError with the names there are.

    Raises it, too, for a study that other programs have left without its budget, or with another
    direction: it says how to mend that.
    """
    found = load_study_as_it_is(storage, name)
    found.load_budget()
    return found


def load_study_as_it_is(storage: RDBStorage, name: str) -> LoadedStudy:
    """Do what `load_study` does, also with a study that has lost its budget: it can be read."""
    found = _find(storage, name)
    if found is not None:
        check_directions(storage.engine, found.study_id, name, found.spec)
        return found
    names = sorted(study.study_name for study in storage.get_all_studies())
    if name in names:
        raise StudyNotFoundError(explain_empty(name))
    known = f"it holds {', '.join(names)}" if names else "it holds none"
    raise StudyNotFoundError(f"There is no study {name!r} in this storage: {known}")


def load_only_study(storage: RDBStorage) -> LoadedStudy:
    """Load the one study of ours in a storage; raises StudyNotFoundError unless there is one."""
    ours = {s.study_name for s in storage.get_all_studies() if SPEC in s.user_attrs}
    confirmations = {confirmation_name(name) for name in ours}
    names = sorted(ours - confirmations)
    if len(names) != 1:
        known = f"holds {len(names)}: {', '.join(names)}; name one" if names else "holds none"
        raise StudyNotFoundError(f"Which study? This storage {known}")
    return load_study_as_it_is(storage, names[0])


def _find(storage: RDBStorage, name: str) -> LoadedStudy | None:
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return None
    attrs = storage.get_study_user_attrs(study_id)
    if SPEC not in attrs:
        if not storage.get_all_trials(study_id, deepcopy=False):
            return None  # its creator died half-way, or another program has only created it
        raise StudyNotFoundError(
            f"Study {name!r} was made by another program: choose another --study"
        )
    spec = read_spec(name, attrs[SPEC])
    # The study needs its own sampler and pruner only to run trials: see `with_sampler`.
    study = _load(storage, name, RandomSampler(), NopPruner())
    origin = storage.get_study_system_attrs(study_id).get(ORIGIN)
    return LoadedStudy(study, study_id, spec, storage, origin)


def _create(
    storage: RDBStorage,
    name: str,
    options: Mapping[str, Any],
    n_trials: int,
    teacher: Teacher | None = None,
) -> LoadedStudy:
    spec = _build_first_spec(options)
    if teacher is not None:
        teacher.check(name, spec)
    if spec.sampler == "grid":
        spec = spec.model_copy(update={"grid": find_shape(find_space(spec), n_trials)})
    check_may_be_adopted(storage, name, spec.direction)
    study = optuna.create_study(
        storage=storage, study_name=name, direction=spec.direction, load_if_exists=True
    )
    study_id = storage.get_study_id_from_name(name)
    _name_metric(study, spec)
    origin = found_study(storage.engine, study_id, n_trials, spec.direction, describe_spec(spec))
    study = _load(storage, name, study.sampler, study.pruner)  # with the direction of now
    return LoadedStudy(study, study_id, spec, storage, origin)


def _build_first_spec(options: Mapping[str, Any]) -> Spec:
    if "confirms" in options:  # it trains as what it confirms
        return build_spec(options)
    is_unseen = is_users(options.get("objective", "")) and "problem" not in options
    return build_unseen_spec(options) if is_unseen else build_new_spec(options)


def _name_metric(study: optuna.Study, spec: Spec) -> None:
    """Title the dashboard's axes, where anything is known of what is measured."""
    if spec.facts.can_train_again:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([spec.facts.metric.name])


def describe_spec(spec: Spec) -> dict[str, Any]:
    """Return the attributes of a study in which its spec stands."""
    return {SPEC_HASH: spec.hash, SPEC: spec.model_dump(mode="json")}


def _load(
    storage: BaseStorage, name: str, sampler: BaseSampler, pruner: BasePruner
) -> optuna.Study:
    return optuna.load_study(storage=storage, study_name=name, sampler=sampler, pruner=pruner)


def with_sampler(loaded: LoadedStudy, storage: BaseStorage, worker_ordinal: int) -> optuna.Study:
    """Return Optuna's study with the sampler and pruner of its spec, for one worker."""
    if isinstance(storage, WorkerStorage) and (space := find_space(loaded.spec)):
        storage.expect(space)
    sampler = make_sampler(loaded.spec, worker_ordinal)
    return _load(storage, loaded.name, sampler, make_pruner(loaded.spec))
