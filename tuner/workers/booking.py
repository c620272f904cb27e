"""Books how each trial ends, whatever its trainer does, says, or leaves unsaid.

A trial ends as its coordinator says: complete, pruned, failed, or given back to the budget. What a
trainer says of a trial that was taken from it counts for nothing.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from storage import TRAINER_DIED, Retry, Withdrawal, WorkerStorage, set_study_state
from tuner.brakes import Brakes, load_brakes
from tuner.confirmation.fresh_seeds import SEED
from tuner.errors import StudyFailedError, TunerError
from tuner.metrics import worker as metrics
from tuner.sampling.median import find_settled
from tuner.space import find_space, suggest
from tuner.study import LoadedStudy
from tuner.workers.config import worker_name
from tuner.workers.crew import Crew, InTraining, Trainer
from tuner.workers.desk import Desk, find_relative
from tuner.workers.failures import find_failure_row
from tuner.workers.messages import Order, Outcome, Reply, StartFunction, StartLane
from tuner.workers.overdue import Watch
from tuner.workers.suspects import Suspects

logger = logging.getLogger(__name__)

# So many failures in a row of one trainer, where others succeed, are the trainer's fault.
_MAX_OWN_FAILURES = 3
_RETIREMENT_SECONDS = 60.0


@dataclass(eq=False)
class Bookkeeper:
    """The trials that one worker has in training, and how they end."""

    loaded: LoadedStudy
    study: optuna.Study
    storage: WorkerStorage
    crew: Crew
    retry: Retry
    has_news: bool = True  # something has ended or become free: it is worth while to claim
    brakes: Brakes = field(init=False)
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        self.brakes = self.retry.call("read the study", lambda: load_brakes(self.loaded.study))
        self.desk = Desk(self.study, self.storage)
        budget = self.retry.call("read the budget", self.loaded.load_budget)
        self._suspects = Suspects(self.crew, budget.max_retries)
        self._watch = Watch(self.brakes)
        self._first_number: int | None = None
        self._to_give_back: list[tuple[InTraining, str, bool]] = []  # why; whether it is to blame
        self._known_errors: set[tuple[str, ...]] = set()
        self._retirement: TunerError | None = None
        self._described: dict[int, str] = {}  # trials whose end is not written yet
        self._has_refused = False
        self._asks_to_prune = False  # the function has, so it is told in advance from now on
        self.storage.on_written(self._note_written)
        self.storage.on_refused(self._note_refused)

    @property
    def view(self) -> LoadedStudy:
        """The study as this worker sees it."""
        return replace(self.loaded, study=self.study)

    @property
    def has_to_give_back(self) -> bool:
        """Tell whether trials are held that no trainer has."""
        return bool(self._to_give_back) or self._suspects.are_waiting

    def list_free(self) -> list[Trainer]:
        """Return who can take a trial now, once for each lane, the least busy first.

        Trials with fresh seeds train from the same pass on: they are given to idle trainers.
        """
        ready = [t for t in self.crew.trainers if t.n_free and t is not self._suspects.reserved]
        if self.loaded.spec.confirms is not None:
            return [
                trainer for trainer in ready if not trainer.trials for _ in range(trainer.n_free)
            ]
        free = [(len(t.trials) + i, t.slot, t) for t in ready for i in range(t.n_free)]
        return [trainer for *_, trainer in sorted(free, key=lambda each: each[:2])]

    def start(self, trainer: Trainer) -> None:
        """Ask for a claimed trial, and let a trainer begin with it."""
        trial = self.study.ask()
        now = time.monotonic()
        if self._first_number is None:
            self._first_number = trial.number
        held = InTraining(trial, trial.user_attrs.get("rerun_of", trial.number), now, now)
        if not self._suspects.take(held):
            self._begin(trainer, held)

    def _begin(self, trainer: Trainer, held: InTraining) -> None:
        trial = held.trial
        try:
            trial.set_user_attr("worker", self._label(trainer))
            message = self._make_start(held)
        except UpdateFinishedTrialError:
            return self._drop(held)
        except (ValueError, TypeError, OverflowError) as error:  # by a queued parameter
            return self._book(held, Outcome("FAIL", error=f"{type(error).__name__}: {error}"))
        trainer.trials[trial.number] = held
        trainer.send(message)
        return None

    def _label(self, trainer: Trainer) -> str:
        is_only = len(self.crew.trainers) == 1
        return worker_name() if is_only else f"{worker_name()}#{trainer.slot}"

    def _make_start(self, held: InTraining) -> StartFunction | StartLane:
        trial, spec = held.trial, self.loaded.spec
        if spec.is_function:
            relative = find_relative(trial)
            pruner = find_settled(self.study) if self._asks_to_prune else None
            held.has_pruner = pruner is not None
            frozen = self.storage.get_trial(trial._trial_id)
            return StartFunction(trial.number, frozen, relative, pruner)
        params = suggest(trial, find_space(spec))
        # One that a plain Optuna program has added has no seed.
        seed = None if spec.confirms is None else int(trial.user_attrs.get(SEED, 0))
        return StartLane(trial.number, held.first, params, seed)

    def hear(self, trainer: Trainer, kind: str, arguments: list[Any]) -> None:
        """Do what a trainer says."""
        if kind == "call":
            return self._answer(trainer, *arguments)
        held = trainer.trials.get(arguments[0])
        if held is None:
            return None  # it was taken from this trainer
        held.heard_at = time.monotonic()
        if kind == "ended":
            self._end(trainer, held, Outcome(**arguments[1]))
            return None
        try:
            reply = self.desk.answer(held.trial, kind, arguments[1:])
        except UpdateFinishedTrialError:
            return trainer.send(Order("lost", held.number))
        if kind == "report":
            metrics.EPOCHS.inc()
        if reply.error is not None:
            self._fail_and_replace(trainer, held, f"{reply.error[0]}: {reply.error[1]}")
        return None

    def _answer(self, trainer: Trainer, name: str, *arguments: Any) -> None:
        if name == "prune":
            self._asks_to_prune = True
            return trainer.send(self._prune_all(trainer, arguments[0]))
        held = trainer.trials.get(arguments[0]) if name in _OF_A_TRIAL else None
        rest = arguments[1:] if name in _OF_A_TRIAL else arguments
        if held is not None:
            held.heard_at = time.monotonic()
        try:
            reply = self.desk.answer(None if held is None else held.trial, name, rest)
        except StudyFailedError:
            self._stop_study()
            raise
        except UpdateFinishedTrialError as error:
            trainer.send(Order("lost", arguments[0]))
            reply = Reply(error=("UpdateFinishedTrialError", str(error)))
        trainer.send(reply)
        return None

    def _prune_all(self, trainer: Trainer, numbers: Sequence[int]) -> Reply:
        try:
            return Reply([self._prune(trainer, number) for number in numbers])
        except (ValueError, TypeError) as error:  # of a pruner, by what was reported
            return Reply(error=(type(error).__name__, str(error)))

    def _prune(self, trainer: Trainer, number: int) -> bool:
        held = trainer.trials.get(number)
        if held is None:
            trainer.send(Order("lost", number))
            return False
        held.heard_at = time.monotonic()
        return held.trial.should_prune()

    def _end(self, trainer: Trainer, held: InTraining, outcome: Outcome) -> None:
        """Book the end of a trial, and let its trainer go on, or leave if it is to blame."""
        del trainer.trials[held.number]
        trainer.n_ended += 1
        trainer.note_progress()
        self._release(trainer)
        self._suspects.clear(held)
        if outcome.state == "COMPLETE":  # those that were pruned say nothing of the others
            self._watch.note_complete(held)
        if outcome.state == "FAIL" and self.brakes.retries(
            outcome.error or "", outcome.error_kinds
        ):
            self._give_back(held, _storable(outcome.error or ""), is_death=True)
        else:
            self._book(held, outcome)
        limit = self.brakes.trials_per_process
        if not trainer.trials and (
            outcome.wants_new_process or (limit and trainer.n_ended >= limit)
        ):
            self.crew.renew(trainer)
        elif outcome.state == "FAIL":
            self._blame(trainer, held)
        else:
            trainer.n_failed_in_row = 0

    def _release(self, trainer: Trainer) -> None:
        self.has_news = True
        self.crew.let_ask()
        self._suspects.release(trainer)

    def _book(self, held: InTraining, outcome: Outcome) -> None:
        """Tell the study how a trial ended; the coordinator's word is the last."""
        self.has_news = True
        trial = held.trial
        if outcome.state == "LOST":
            return self._drop(held)
        attrs = dict(outcome.user_attrs)
        if outcome.error is not None:
            attrs["error"] = _storable(outcome.error)
            self._say_error(held, outcome)
        try:
            for name, value in attrs.items():
                trial.set_user_attr(name, value)
            values = list(outcome.values) if outcome.values is not None else None
            self._described[trial.number] = describe(trial, outcome)
            self.study.tell(trial, values, TrialState[outcome.state])
        except UpdateFinishedTrialError:
            return self._drop(held)
        except ValueError as error:
            # What `tell` raises for a trial that it reads as finished by somebody else.
            if self.storage.get_trial(trial._trial_id).state.is_finished():
                return self._drop(held)
            if outcome.state == "FAIL":
                raise
            return self._book(held, Outcome("FAIL", error=str(error)))
        if outcome.state == "FAIL":
            self._stop_after_too_many()
        return None

    def _note_written(self, number: int, state: TrialState) -> None:
        """Log an end when it is in the database; called by the writer's thread."""
        metrics.count_end(state)
        described = self._described.pop(number, "")
        logger.info("Trial %d %s %s", number, state.name, described, extra={"trial": number})

    def _note_refused(self, number: int, reason: str) -> None:
        """Log that the database has refused what a trial stores; called by the writer's thread."""
        metrics.count_end(TrialState.FAIL)
        self._described.pop(number, None)
        self._has_refused = True
        logger.error("Trial %d FAIL: %s", number, reason, extra={"trial": number})

    def _say_error(self, held: InTraining, outcome: Outcome) -> None:
        """Log an error: with its traceback the first time, in one line when it comes again."""
        of_trial = {"trial": held.number}
        lines = (outcome.traceback or "").rstrip().splitlines()
        places = [line for line in lines if line.startswith("  File")]
        kind = (*outcome.error_kinds[:1], *places[-1:])
        is_new = kind not in self._known_errors
        self._known_errors.add(kind)
        traceback = f"\n{outcome.traceback}" if outcome.traceback and is_new else ""
        logger.error("Trial %d: %s%s", held.number, outcome.error, traceback, extra=of_trial)

    def _stop_after_too_many(self) -> None:
        """Stop the study if its trials fail one after another; raises StudyFailedError."""
        limit = self.brakes.max_failures
        if not limit:
            return
        trials = self.study.get_trials(deepcopy=False)
        row = find_failure_row(trials, self._first_number or 0)
        if row is None or row.n_failures < limit:
            return
        self._stop_study()
        raise StudyFailedError(
            f"Study {self.loaded.name!r} was stopped: its last {row.n_failures} trials failed, the "
            f"first with {row.first_error}; mend it and start again, or allow more by "
            "--max-failures N (0: any number)"
        )

    def _stop_study(self) -> None:
        self.storage.flush()
        set_study_state(self.loaded.storage.engine, self.loaded.study_id, "stopped")

    def _blame(self, trainer: Trainer, held: InTraining) -> None:
        """Let a trainer leave whose trials fail one after another while those of others do not."""
        trainer.n_failed_in_row += 1
        if trainer.n_failed_in_row < _MAX_OWN_FAILURES:
            return
        at_work = [each for each in self.crew.at_work if each.process is not None]
        is_last = len(at_work) == 1
        own = worker_name() if is_last else self._label(trainer)
        if not self._find_success_of_others(own):
            return
        what = f"{trainer.n_failed_in_row} trials in a row failed in trainer {trainer.slot}, the "
        what += f"last with {self._error_of(held)}, while others succeed"
        self.crew.dismiss(trainer)
        if is_last:
            trainer.is_retired = True
            self._retirement = StudyFailedError(f"{what}: this worker leaves")
        else:
            trainer.start_at = time.monotonic() + _RETIREMENT_SECONDS
            logger.warning("%s: it gets a new process in %.0f s", what, _RETIREMENT_SECONDS)

    def _error_of(self, held: InTraining) -> str:
        trial = self.storage.get_trial(held.trial._trial_id)
        return str(trial.user_attrs.get("error", "no reason"))

    def _find_success_of_others(self, own: str) -> bool:
        ended = self.study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)
        )
        labels = (str(trial.user_attrs.get("worker", own)) for trial in ended[-100:])
        return any(not label.startswith(own) for label in labels)

    def explain_retirement(self) -> TunerError:
        """Return what to raise when no trainer is left."""
        return self._retirement or StudyFailedError("No trainer is left")

    def _drop(self, held: InTraining) -> None:
        self._described.pop(held.number, None)
        message = "Trial %d was taken away meanwhile: dropped"
        logger.warning(message, held.number, extra={"trial": held.number})

    def _give_back(self, held: InTraining, reason: str, *, is_death: bool = False) -> None:
        """Give a trial back to the budget: now, or when the database is there again."""
        self._to_give_back.append((held, reason, is_death))
        self.has_news = True

    def note_death(self, trainer: Trainer) -> None:
        """Give back what a trainer's process had in training when it ended by itself."""
        process = trainer.process
        if process is None or trainer.kill_at is not None:
            return  # it was told to leave, and its trials are booked
        how = process.describe_end()
        logger.warning("A trainer %s: starting another", how)
        for held in trainer.trials.values():
            is_to_blame = self._suspects.note_death(trainer, held)
            self._give_back(held, f"{TRAINER_DIED}{how}", is_death=is_to_blame)
        trainer.trials.clear()
        self._release(trainer)

    def _fail_and_replace(self, trainer: Trainer, held: InTraining, reason: str) -> None:
        """End a trial that its trainer will not end: the trainer leaves, neighbours are rerun."""
        del trainer.trials[held.number]
        self.crew.dismiss(trainer)
        self._book(held, Outcome("FAIL", error=reason))
        for neighbour in trainer.trials.values():
            self._give_back(neighbour, f"trial {held.number} had to be ended: {reason}")
        trainer.trials.clear()
        self._release(trainer)

    def supervise(self) -> None:
        """Give back what is to be, end what takes too long, run suspects alone."""
        self.retry.attempt(self._give_all_back, None)
        if self._has_refused:
            self._has_refused = False
            self._stop_after_too_many()
        for held, reason in self._watch.find_overdue(self.crew):
            trainer = next(t for t in self.crew.trainers if held.number in t.trials)
            self._fail_and_replace(trainer, held, reason)
        if (suspect := self._suspects.find_next()) is not None:
            self._begin(*suspect)

    def _give_all_back(self) -> None:
        while self._to_give_back:
            held, reason, is_death = self._to_give_back[0]
            became = self.storage.give_back(held.trial._trial_id, reason, is_death=is_death)
            self._to_give_back.pop(0)
            if became is Withdrawal.FAILED:
                self._suspects.clear(held)
                self._note_refused(held.number, reason)


_OF_A_TRIAL = frozenset({"suggest", "report", "user_attr", "system_attr"})


def _storable(text: str) -> str:
    """Return a text that every database takes, whatever somebody's exception says."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def describe(trial: optuna.Trial, outcome: Outcome) -> str:
    """Return a trial's value and parameters in a line for the log."""
    params = " ".join(
        f"{name}={chosen:.3g}" if isinstance(chosen, float) else f"{name}={chosen}"
        for name, chosen in trial.params.items()
    )
    if outcome.values is None:
        return params
    return f"value={outcome.values[0]:.4f} {params}"
