"""Train what a confirmation wants on fresh seeds, and keep the answer with the study.

The trials are those of a study of its own, NAME/confirm, which any worker may join. What is to be
trained follows from the values there are (``plan``), so that after a crash, or beside another
confirmation of the same study, this goes on where it finds itself. The test set is read once, at
the end, for the chosen λ alone.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import joblib
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from storage import creation_lock, open_storage, set_queue, set_study_state
from tuner.compact import write_document
from tuner.confirmation.box import Box, make_box
from tuner.confirmation.evidence import Check, judge
from tuner.confirmation.plan import (
    DEFAULT_N_SEEDS,
    Progress,
    Results,
    Sizes,
    find_ended,
    find_value,
    make_trial,
    plan,
)
from tuner.confirmation.statistics import summarise
from tuner.confirmation.values import CONFIRMATION, Confirmation, Rung, Score
from tuner.errors import NoResultError, UsageError
from tuner.models_folder import temporary_models
from tuner.selection import find_confirmation, get_best_trial, score_on_test
from tuner.study import LoadedStudy, load_study, open_confirmation
from tuner.train import has_test_part
from tuner.workers.config import WorkerConfig
from tuner.workers.launchers.launch import train_study
from tuner.workers.local import StudyRun
from tuner.workers.shutdown import Leaving

_PLAN = "plan"
_RULES: tuple[Literal["min", "1se"], ...] = ("min", "1se")
_WITHDRAWN = "no longer wanted"

# Lanes that two seeds of five trainings keep busy; with more, more seeds are drawn at a time.
_LANES_PER_ROUND = {16: 2, 32: 4}
_MOST_PER_ROUND = 8
_USUAL_N_LANES = 4  # of a trainer on a CPU


@dataclass(frozen=True)
class ConfirmRequest:
    """What to confirm, by which local workers; ``worker`` names the searched study.

    ``n_seeds`` draw trainings, and as many check what they chose; None is what the study was
    confirmed with before, or the default.
    """

    worker: WorkerConfig
    n_workers: int | None = None
    n_seeds: int | None = None


def confirm_study(request: ConfirmRequest, console: Console, leaving: Leaving) -> Confirmation:
    """Return what fresh seeds say of a study; trains what is missing, and stores the answer.

    Raises Interrupted when asked to leave; the next call goes on. Raises NoResultError for a study
    without a complete trial or a confirmation that was stopped, UsageError for one without λ.
    """
    storage = open_storage(request.worker.storage_url)
    retry = request.worker.retry(leaving)
    open_race = partial(_open_race, storage, request)
    race = retry.call("open the study", open_race)
    searched = race.searched
    retry.call("read the budget", lambda: _say_how_far(searched, console))
    with temporary_models() as models_dir:
        config = replace(request.worker, study_name=race.confirming.name, models_dir=models_dir)
        _train(race, config, request.n_workers, (console, leaving))
        confirmation = retry.call("read the values", race.judge)
        if (stored := _find_same(searched, confirmation)) is not None:
            return stored
        if searched.spec.facts.can_train_again:
            with console.status("Scoring the chosen λ on the test set"):
                test = _score(race, confirmation, config, leaving)
            confirmation = confirmation.model_copy(update={"test": test})
    confirmation = retry.call("store the answer", lambda: _store(searched, confirmation))
    with console.status("Drawing what λ does, for the dashboard"):
        from tuner.pictures.figures import keep_in_study

        retry.call("keep the pictures", lambda: keep_in_study(searched, confirmation))
    return confirmation


def _find_same(searched: LoadedStudy, confirmation: Confirmation) -> Confirmation | None:
    """Return the stored answer if it is this one, with the scores of whoever stored it."""
    stored = find_confirmation(searched)
    is_same = stored is not None and confirmation == stored.model_copy(update={"test": {}})
    return stored if is_same else None


def _store(searched: LoadedStudy, confirmation: Confirmation) -> Confirmation:
    """Return the answer that is stored: this one, or the same of one that was faster."""
    with creation_lock(searched.storage.url):
        same = _find_same(searched, confirmation.model_copy(update={"test": {}}))
        if same is None:
            write_document(searched.study, CONFIRMATION, confirmation.model_dump(mode="json"))
    return same or confirmation


def find_reason_against(searched: LoadedStudy) -> str | None:
    """Tell why a study with a complete trial cannot be confirmed; None if it can."""
    try:
        make_box(searched.own_trials(), searched.spec.facts)
    except UsageError as error:
        return str(error)
    return None


@dataclass
class _Race:
    """Where a searched study's λ is looked for, and the study in which it is trained."""

    searched: LoadedStudy
    confirming: LoadedStudy
    box: Box
    sizes: Sizes
    missing: frozenset[str] = field(default=frozenset())  # keys of what is wanted, and no result

    def set_queue(self) -> None:
        """Let those trials wait that are wanted by the values there are now.

        Once more if meanwhile there are others: what this has withdrawn may have been planned by
        another confirmation, which knew them.
        """
        engine, results = self.confirming.storage.engine, self._read_values()
        while True:
            trials = [make_trial(self.box, each) for each in self._plan(results).wanted]
            set_queue(engine, self.confirming.study_id, trials, _WITHDRAWN)
            known, results = results.keys(), self._read_values()
            if results.keys() == known:
                break
        self.missing = frozenset(trial.key for trial in trials) - known

    def on_tick(self, view: LoadedStudy) -> None:
        """Plan on as soon as all that was missing has ended, before a crew takes it for the end."""
        if self.missing and self.missing <= find_ended(_get_trials(view)).keys():
            self.set_queue()

    def judge(self) -> Confirmation:
        """Return what the values say."""
        ended = find_ended(_get_trials(self.confirming))
        results = {key: find_value(trial) for key, trial in ended.items()}
        progress = self._plan(results)
        assert progress.choice is not None  # all that led to it has been trained
        name, direction = self.confirming.name, self.searched.spec.direction
        seeds = tuple(self.sizes.check_seeds)
        folds = {}
        if self.searched.spec.facts.can_train_again:
            folds = {k: tuple(t.user_attrs.get("fold_values", ())) for k, t in ended.items()}
        return judge(Check(name, direction, self.box, progress.choice, seeds, results, folds))

    def find_trials(self, rung: Rung) -> list[FrozenTrial]:
        """Return the complete trials behind a rung."""
        ended = find_ended(_get_trials(self.confirming))
        params = rung.candidate.params
        name = self.box.companion.name if self.box.companion else None
        cell = rung.candidate.strength, None if name is None else params[name]
        keys = [make_trial(self.box, (cell, seed)).key for seed in rung.values]
        return [ended[key] for key in keys if ended[key].state is TrialState.COMPLETE]

    def _plan(self, results: Results) -> Progress:
        spec = self.searched.spec
        return plan(self.box, self.sizes, results, spec.direction, spec.seed)

    def _read_values(self) -> dict[str, float | None]:
        ended = find_ended(_get_trials(self.confirming))
        return {key: find_value(trial) for key, trial in ended.items()}


def _say_how_far(searched: LoadedStudy, console: Console) -> None:
    """Say if the search goes on: what it finds later is in no answer of now."""
    budget = searched.load_budget()
    if budget.state != "stopped" and not (budget.is_spent or budget.is_past_deadline):
        console.print(
            f"The search is at {budget.n_finished} of {budget.n_trials} trials: confirming what it "
            "has found so far",
            highlight=False,
        )


def _open_race(storage: RDBStorage, request: ConfirmRequest) -> _Race:
    """Choose where to look, and create or load the study in which it is trained."""
    searched = load_study(storage, request.worker.study_name)
    if searched.spec.confirms is not None:
        raise UsageError(
            f"Study {searched.name!r} is a confirmation: give the searched study, --study "
            f"{searched.spec.confirms}"
        )
    get_best_trial(searched)
    box = make_box(searched.own_trials(), searched.spec.facts)  # refuses before anything is made
    confirming = open_confirmation(searched)
    sizes = {"n_seeds": DEFAULT_N_SEEDS, "per_round": _find_per_round(request)}
    with creation_lock(storage.url):  # of two at once, the second plans as the first does
        stored = confirming.study.user_attrs.get(_PLAN, {})
        if "per_round" in stored:  # not the plan of an older version
            sizes |= stored
        if request.n_seeds is not None:
            sizes["n_seeds"] = request.n_seeds
        confirming.study.set_user_attr(_PLAN, sizes)
    return _Race(searched, confirming, box, Sizes(**sizes))


def _find_per_round(request: ConfirmRequest) -> int:
    """Return how many seeds to draw at a time, so that all lanes are busy."""
    n_trainers = request.n_workers or joblib.cpu_count(only_physical_cores=True)
    n_lanes = n_trainers * (request.worker.n_lanes or _USUAL_N_LANES)
    fitting = [n for limit, n in _LANES_PER_ROUND.items() if n_lanes <= limit]
    return min(fitting, default=_MOST_PER_ROUND)


def _get_trials(loaded: LoadedStudy) -> list[FrozenTrial]:
    return loaded.study.get_trials(deepcopy=False)


def _train(
    race: _Race, config: WorkerConfig, n_workers: int | None, screen: tuple[Console, Leaving]
) -> None:
    confirming, retry = race.confirming, config.retry(screen[1])
    retry.call("plan the confirmation", race.set_queue)
    if not race.missing:
        return
    engine, study_id = confirming.storage.engine, confirming.study_id
    retry.call("open the confirmation", lambda: set_study_state(engine, study_id, "open"))
    n = race.sizes.n_seeds
    screen[0].print(f"Confirming λ: {n + 2} fresh seeds choose, {n} others check", highlight=False)
    while race.missing:
        train_study(StudyRun(confirming, config, n_workers, *screen, race.on_tick))
        if retry.call("read the budget", confirming.load_budget).state == "stopped":
            raise NoResultError(
                f"The confirmation of study {race.searched.name!r} was stopped: `tuner confirm` "
                "goes on with it"
            )
        retry.call("plan the confirmation", race.set_queue)


def _score(
    race: _Race, confirmation: Confirmation, config: WorkerConfig, leaving: Leaving
) -> dict[Literal["min", "1se"], Score]:
    """Return the test score of each rule's choice: mean and standard error over seeds.

    There is none where the data has no test part.
    """
    if not has_test_part(race.confirming.spec):
        return {}
    trials = {rule: race.find_trials(confirmation.chosen(rule)) for rule in _RULES}
    chosen = {trial.number: trial for each in trials.values() for trial in each}
    values = score_on_test(race.confirming, list(chosen.values()), config, leaving)
    scores = {}
    for rule, each in trials.items():
        mean, error = summarise([values[trial.number] for trial in each])
        assert mean is not None  # what was chosen has a value for every seed
        scores[rule] = Score(mean=mean, standard_error=error, n_seeds=len(each))
    return scores
