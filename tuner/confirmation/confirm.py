"""Train a study's candidates on fresh seeds, and keep the answer with the study.

The trials are those of a study of its own, NAME/confirm, which any worker may join. What is to be
trained follows from the values there are (``plan``), so that after a crash, or beside another
confirmation of the same study, this goes on where it finds itself. The test set is read once, at
the end, for the chosen λ alone.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from objectives import DATASETS
from storage import open_storage, set_queue, set_study_state
from tuner import launcher
from tuner.confirmation.evidence import Evidence, judge
from tuner.confirmation.ladder import Candidates, find_searched_range, make_candidates
from tuner.confirmation.learning_rates import find_outrun
from tuner.confirmation.plan import (
    find_ended,
    find_n_wanted,
    find_value,
    list_wanted,
    make_trial,
)
from tuner.confirmation.statistics import Scale, Values, summarise
from tuner.confirmation.values import CONFIRMATION, Candidate, Confirmation, Rung, Score
from tuner.errors import NoResultError, UsageError
from tuner.leaving import Leaving
from tuner.local import train_locally
from tuner.selection import find_confirmation, get_best_trial, score_on_test
from tuner.study import LoadedStudy, load_study, open_confirmation
from tuner.worker import WorkerConfig

DEFAULT_N_SEEDS = 5
DEFAULT_N_RUNGS = 9

_PLAN = "plan"
_WITHDRAWN = "no longer wanted"
# How often racing looks at the values.
_RACE_SECONDS = 1.0


@dataclass(frozen=True)
class PlanOptions:
    """How much to confirm; None is what the study was confirmed with before, or the default."""

    n_seeds: int | None = None
    n_rungs: int | None = None
    races: bool | None = None


@dataclass(frozen=True)
class ConfirmRequest:
    """What to confirm, by which local workers; ``worker`` names the searched study."""

    worker: WorkerConfig
    n_workers: int | None = None
    plan: PlanOptions = PlanOptions()


def confirm_study(request: ConfirmRequest, console: Console, leaving: Leaving) -> Confirmation:
    """Return what fresh seeds say of a study; trains what is missing, and stores the answer.

    Raises Interrupted when asked to leave; the next call goes on. Raises NoResultError for a study
    without a complete trial or a confirmation that was stopped, UsageError for one without λ.
    """
    storage = open_storage(request.worker.storage_url)
    open_race = partial(_open_race, storage, request)
    retry = request.worker.retry(leaving)
    race = retry.call("open the study", open_race)
    searched = race.searched
    retry.call("read the budget", lambda: _say_how_far(searched, console))
    with tempfile.TemporaryDirectory(prefix="tuner-") as models_dir:
        config = replace(
            request.worker, study_name=race.confirming.name, models_dir=Path(models_dir)
        )
        _train(race, config, request.n_workers, (console, leaving))
        confirmation = retry.call("read the values", race.judge)
        stored = find_confirmation(searched)
        if stored is not None and confirmation == stored.model_copy(update={"test": {}}):
            return stored
        if not searched.spec.is_function:
            with console.status("Scoring the chosen λ on the test set"):
                score = partial(score_on_test, numbers=_find_chosen(race, confirmation))
                scores = launcher.call_in_worker_process(score, config, leaving)
            test = _average(race, confirmation, scores)
            confirmation = confirmation.model_copy(update={"test": test})
    document = confirmation.model_dump(mode="json")
    retry.call("store the answer", lambda: searched.study.set_user_attr(CONFIRMATION, document))
    with console.status("Drawing what λ does, for the dashboard"):
        from tuner.pictures.figures import keep_in_study

        retry.call("keep the pictures", lambda: keep_in_study(searched, confirmation))
    return confirmation


def find_reason_against(searched: LoadedStudy) -> str | None:
    """Tell why a study with a complete trial cannot be confirmed; None if it can."""
    try:
        find_searched_range(_get_trials(searched))
    except UsageError as error:
        return str(error)
    return None


@dataclass
class _Race:
    """The candidates of a searched study, and the study in which they are trained."""

    searched: LoadedStudy
    confirming: LoadedStudy
    best: FrozenTrial
    candidates: Candidates
    n_seeds: int
    races: bool
    looked_at: float = field(default=0.0)
    n_wanted: dict[Candidate, int] = field(default_factory=dict)

    def set_queue(self, *, only_if_changed: bool = False) -> None:
        """Let those trials wait that are worth it, by the values there are now."""
        n_wanted = self._find_n_wanted(self._read_values())
        if only_if_changed and n_wanted == self.n_wanted:
            return
        wanted = [
            make_trial(candidate, seed, self.best.params)
            for candidate, seed in list_wanted(self.candidates, n_wanted)
        ]
        storage = self.confirming.storage
        set_queue(storage.engine, self.confirming.study_id, wanted, _WITHDRAWN)
        self.n_wanted = n_wanted

    def on_tick(self) -> None:
        """Drop the hopeless now and then."""
        if time.monotonic() - self.looked_at > _RACE_SECONDS:
            self.set_queue(only_if_changed=True)
            self.looked_at = time.monotonic()

    def judge(self) -> Confirmation:
        """Return what the values say."""
        best, values, scale = self.best, self._read_values(), self._find_scale()
        n_wanted = self._find_n_wanted(values)
        outrun = find_outrun(self.candidates, values, self.n_seeds, scale.direction)
        assert best.value is not None
        return judge(
            Evidence(
                study=self.confirming.name,
                scale=scale,
                seeds=tuple(range(self.n_seeds)),
                values={c: values[c] for c in values if c not in outrun},
                dropped=frozenset(c for c, n in n_wanted.items() if n < self.n_seeds),
                searched_range=find_searched_range(_get_trials(self.searched)),
                search_trial=best.number,
                search_value=best.value,
            )
        )

    def find_numbers(self, candidate: Candidate) -> list[int]:
        """Return the numbers of a candidate's complete trials."""
        trials = self._find_trials()[candidate].values()
        return [trial.number for trial in trials if trial.state is TrialState.COMPLETE]

    def _find_scale(self) -> Scale:
        spec = self.searched.spec
        image = 0.0 if spec.is_function else 1 / DATASETS[spec.dataset].n_validation
        return Scale(spec.direction, image)

    def _find_n_wanted(self, values: Mapping[Candidate, Values]) -> dict[Candidate, int]:
        scale = self._find_scale()
        return find_n_wanted(self.candidates, values, self.n_seeds, scale, races=self.races)

    def _read_values(self) -> Mapping[Candidate, Values]:
        return {
            candidate: {seed: find_value(trial) for seed, trial in by_seed.items()}
            for candidate, by_seed in self._find_trials().items()
        }

    def _find_trials(self) -> dict[Candidate, dict[int, FrozenTrial]]:
        """Return the trials that have ended, by seed."""
        ended = find_ended(_get_trials(self.confirming))
        found: dict[Candidate, dict[int, FrozenTrial]] = {}
        for candidate in self.candidates.distinct:
            keys = {
                seed: make_trial(candidate, seed, self.best.params).key
                for seed in range(self.n_seeds)
            }
            found[candidate] = {seed: ended[key] for seed, key in keys.items() if key in ended}
        return found


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
    """Choose the candidates, and create or load the study in which they are trained."""
    searched = load_study(storage, request.worker.study_name)
    if searched.spec.confirms is not None:
        raise UsageError(
            f"Study {searched.name!r} is a confirmation: give the searched study, --study "
            f"{searched.spec.confirms}"
        )
    best = get_best_trial(searched)
    find_searched_range(_get_trials(searched))  # refuses before anything is created
    confirming = open_confirmation(searched)
    plan = {"n_seeds": DEFAULT_N_SEEDS, "n_rungs": DEFAULT_N_RUNGS, "races": True}
    plan |= confirming.study.user_attrs.get(_PLAN, {})
    plan |= {name: value for name, value in vars(request.plan).items() if value is not None}
    confirming.study.set_user_attr(_PLAN, plan)
    candidates = make_candidates(
        _get_trials(searched),
        direction=searched.spec.direction,
        n_rungs=plan["n_rungs"],
        with_zero=not searched.spec.is_function,
    )
    return _Race(
        searched,
        confirming,
        best,
        candidates,
        n_seeds=plan["n_seeds"],
        races=bool(plan["races"]),
    )


def _get_trials(loaded: LoadedStudy) -> list[FrozenTrial]:
    return loaded.study.get_trials(deepcopy=False)


def _train(
    race: _Race, config: WorkerConfig, n_workers: int | None, screen: tuple[Console, Leaving]
) -> None:
    confirming, retry = race.confirming, config.retry(screen[1])
    load_budget = partial(retry.call, "read the budget", confirming.load_budget)
    retry.call("plan the confirmation", race.set_queue)
    if load_budget().is_spent:
        return
    engine, study_id = confirming.storage.engine, confirming.study_id
    retry.call("open the confirmation", lambda: set_study_state(engine, study_id, "open"))
    n, console = len(race.candidates.rows) + 1, screen[0]
    console.print(f"Confirming {n} candidates on {race.n_seeds} fresh seeds", highlight=False)
    # Another confirmation, told other numbers of seeds or rungs, may have withdrawn some of ours.
    while not load_budget().is_spent:
        train_locally(confirming, config, n_workers, race.on_tick, screen)
        if load_budget().state == "stopped":
            raise NoResultError(
                f"The confirmation of study {race.searched.name!r} was stopped: `tuner confirm` "
                "goes on with it"
            )
        retry.call("plan the confirmation", race.set_queue)


def _chosen(confirmation: Confirmation) -> dict[str, Rung]:
    return {"min": confirmation.chosen("min"), "1se": confirmation.chosen("1se")}


def _find_chosen(race: _Race, confirmation: Confirmation) -> list[int]:
    chosen = _chosen(confirmation).values()
    return sorted({n for rung in chosen for n in race.find_numbers(rung.candidate)})


def _average(
    race: _Race, confirmation: Confirmation, scores: Mapping[int, float]
) -> dict[str, Score]:
    """Return the test accuracy of each rule's choice: mean and standard error over seeds."""
    averages = {}
    for rule, rung in _chosen(confirmation).items():
        values = [scores[number] for number in race.find_numbers(rung.candidate)]
        mean, error = summarise(values)
        assert mean is not None  # what was chosen has a value for every seed
        averages[rule] = Score(mean=mean, standard_error=error, n_seeds=len(values))
    return averages
