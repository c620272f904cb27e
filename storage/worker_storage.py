"""Optuna's storage as one worker of one study sees it: read from memory, written in bursts.

The public API of ``optuna.Study`` works on it. Which trials there are to ask for is decided by
``claim``; what is told reaches the database within a moment, by the writer's thread.
"""

import copy
import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Container, Sequence
from types import TracebackType
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Table

from storage import optuna_tables as tables
from storage.claims import Claimant, ClaimedTrial, Seen, claim_trials, find_unheld
from storage.engine import reading
from storage.history import History
from storage.outbox import Outbox
from storage.resilience import Retry
from storage.study_storage import StudyStorage
from storage.writer import Writer

logger = logging.getLogger(__name__)

_ONLY_WAITING = (TrialState.WAITING,)


class WorkerStorage(StudyStorage):
    """A storage for one worker's thread; a context manager that writes all before it ends.

    Holds at most two connections of the engine: one here, one in the writer's thread. Database
    errors that ``retry`` gives up on are raised by the next call that writes. Cannot be pickled.
    ``on_report`` is called after each intermediate value, by the thread that reports it.
    """

    def __init__(self, inner: RDBStorage, claimant: Claimant, retry: Retry) -> None:
        super().__init__(inner, claimant.study_id)
        self._engine = inner.engine
        self._claimant = claimant
        self._retry = retry
        self._lock = threading.RLock()
        self._history = History(claimant.study_id)
        self._outbox = Outbox(claimant.worker_id)
        self._writer = Writer(
            inner.engine, self._outbox, claimant.worker_id, claimant.lease_seconds, retry
        )
        self._own: dict[int, FrozenTrial] = {}  # in training here
        self._lost: dict[int, FrozenTrial] = {}  # taken away while in training here
        self._claimed: deque[int] = deque()
        self._may_have_claimed = False
        self._distributions: dict[str, BaseDistribution] = {}
        self.on_report: Callable[[], None] | None = None

    @property
    def lease_seconds(self) -> float:
        """How long this worker may be silent before its trials are given to others."""
        return self._claimant.lease_seconds

    def __enter__(self) -> "WorkerStorage":
        self._writer.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if not self._writer.close(self._claimant.lease_seconds):
            logger.warning("Could not write all results: their trials will be given to others")
        with self._lock:
            self._release_lost()

    def flush(self) -> None:
        """Write what is pending now; the writer's thread does so by itself within a moment."""
        self._retry.call("write results", lambda: self._outbox.flush(self._engine))

    def check(self) -> None:
        """Raise the database error that has ended the writer, if one has."""
        self._writer.check()

    @property
    def n_claimed(self) -> int:
        """How many trials are claimed and not yet asked for."""
        return len(self._claimed)

    def claim(self, n: int, *, is_patient: bool = True) -> int:
        """Claim up to ``n`` trials for ``Study.ask``, and return how many there are to ask for.

        Also reads what other workers have done meanwhile. Without patience a database that is
        away is not waited for: who has trials in training goes on with those.
        """
        self.check()
        if n > len(self._claimed):
            self._call("claim trials", lambda: self._claim(n), is_patient=is_patient)
        return min(n, len(self._claimed))

    def refresh(self, *, is_patient: bool = True) -> None:
        """Read what other workers have done since the last claim or refresh."""
        self.check()
        self._call("read trials", self._refresh, is_patient=is_patient)

    def _call(self, what: str, function: Callable[[], None], *, is_patient: bool) -> None:
        if is_patient:
            self._retry.call(what, function)
        else:
            self._retry.attempt(function, None)

    def _claim(self, n: int) -> None:
        if self._history.last_trial_id < 0:
            self._refresh()
        if self._may_have_claimed:
            held = self._outbox.held.values()
            self._admit(find_unheld(self._engine, self._claimant.worker_id, held), has_news=True)
        self._may_have_claimed = True
        if n > len(self._claimed):
            seen = Seen(self._history.last_trial_id, self._history.waiting_ids)
            claim = claim_trials(self._engine, self._claimant, n - len(self._claimed), seen)
            self._admit(claim.trials, has_news=claim.has_news)
        self._may_have_claimed = False

    def _admit(self, claimed: Sequence[ClaimedTrial], *, has_news: bool) -> None:
        """Hold what was claimed; without other news there is nothing to read."""
        new = {
            trial.trial_id: _new_trial(trial, trial.number)
            for trial in claimed
            if trial.number is not None
        }
        with self._lock:
            self._own |= new
            if has_news or self._history.has_unfinished:
                self._refresh()
            else:
                for trial in new.values():
                    self._history.keep(trial)
        for claim in claimed:
            self._outbox.hold(claim.trial_id, claim.lease_id)
            frozen = self._history.find(claim.trial_id)
            if frozen.state is TrialState.RUNNING:
                self._own[claim.trial_id] = frozen
                self._history.keep(frozen)
                self._claimed.append(claim.trial_id)
            else:  # another program has ended it while nobody held it: its lease has to end too
                self._outbox.touch(claim.trial_id)

    def _refresh(self) -> None:
        with self._lock, reading(self._engine) as connection:
            self._release_lost()
            self._history.refresh(connection, self._own)

    def _release_lost(self) -> None:
        """Let go of what was taken away; whoever trains it learns of it by the next call."""
        for trial_id in self._outbox.pop_lost():
            if trial_id in self._own:
                self._lost[trial_id] = self._own.pop(trial_id)
            else:
                number = self._history.find(trial_id).number
                logger.warning("Trial %d was taken away meanwhile: its result is dropped", number)
            self._history.release(trial_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Hand out a claimed trial; a template (``enqueue_trial``) is stored by Optuna."""
        if template_trial is not None:
            return self._inner.create_new_trial(study_id, template_trial)
        if not self._claimed:
            raise RuntimeError("No trial is claimed: call `claim` before `Study.ask`")
        return self._claimed.popleft()

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial; one of our own stays as we left it even if it was taken away."""
        with self._lock:
            own = self._own.get(trial_id) or self._lost.get(trial_id)
            if own is not None:
                return _copied(own)  # Optuna's Trial changes the one that it is given
            return self._history.find(trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,  # noqa: FBT001, FBT002 (Optuna's signature)
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials by number, as of the last claim or refresh and our own writes.

        Asked for WAITING ones only, it returns none: ``Study.ask`` would pop them, but taking
        them is part of ``claim``.
        """
        self._check_study(study_id)
        if states == _ONLY_WAITING:
            return []
        wanted = None if states is None else tuple(s for s in TrialState if s in states)
        with self._lock:
            trials = self._history.select(wanted)
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter; raises ValueError if it has another kind of distribution elsewhere."""
        known = self._known_distribution(param_name) or distribution
        check_distribution_compatibility(known, distribution)
        row = {
            "param_name": param_name,
            "param_value": float(param_value_internal),
            "distribution_json": distribution_to_json(distribution),
        }

        def change(trial: FrozenTrial) -> None:
            value = distribution.to_external_repr(param_value_internal)
            trial.params = {**trial.params, param_name: value}
            trial.distributions = {**trial.distributions, param_name: distribution}

        self._write(trial_id, tables.params, param_name, row, change)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set the value of a step."""
        stored, kind = tables.encode_intermediate_value(intermediate_value)
        row = {"step": step, "intermediate_value": stored, "intermediate_value_type": kind}

        def change(trial: FrozenTrial) -> None:
            values = {**trial.intermediate_values, step: intermediate_value}
            trial.intermediate_values = values

        self._write(trial_id, tables.intermediate_values, step, row, change)
        if self.on_report is not None:
            self.on_report()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute."""

        def change(trial: FrozenTrial) -> None:
            trial.user_attrs = {**trial.user_attrs, key: value}

        row = {"key": key, "value_json": json.dumps(value)}
        self._write(trial_id, tables.user_attrs, key, row, change)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a system attribute."""

        def change(trial: FrozenTrial) -> None:
            trial.system_attrs = {**trial.system_attrs, key: value}

        row = {"key": key, "value_json": json.dumps(value)}
        self._write(trial_id, tables.system_attrs, key, row, change)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End one of our trials; its lease ends in the same transaction."""
        self.check()
        with self._lock:
            trial = copy.copy(self._running(trial_id))
            if not state.is_finished():
                return False
            ended_at = tables.utc_now()
            self._outbox.end(trial_id, state, values or (), ended_at)
            trial.state = state
            trial.values = values
            trial.datetime_complete = tables.to_local(ended_at)
            del self._own[trial_id]
            self._history.keep(trial)
        return True

    def _write(
        self,
        trial_id: int,
        table: Table,
        key: Any,
        row: dict[str, Any],
        change: Callable[[FrozenTrial], None],
    ) -> None:
        """Put a row into the outbox and show it at once; trials that were read stay as they are."""
        self.check()
        with self._lock:
            trial = copy.copy(self._running(trial_id))
            self._outbox.write(trial_id, table, key, row)
            change(trial)
            self._own[trial_id] = trial
            self._history.keep(trial)

    def _running(self, trial_id: int) -> FrozenTrial:
        own = self._own.get(trial_id)
        if own is None:
            state = self._history.find(trial_id).state.name
            raise UpdateFinishedTrialError(
                f"The trial with id {trial_id} is not in training by this worker: it is {state}"
            )
        return own

    def _known_distribution(self, param_name: str) -> BaseDistribution | None:
        """Return the distribution that a parameter has in any trial of the study."""
        if param_name not in self._distributions:
            for trial in self._history.select(None):
                if param_name in trial.distributions:
                    self._distributions[param_name] = trial.distributions[param_name]
                    break
        return self._distributions.get(param_name)


def _new_trial(claimed: ClaimedTrial, number: int) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=tables.to_local(claimed.started_at),
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=claimed.trial_id,
    )


def _copied(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy whose dictionaries can be changed."""
    copied = copy.copy(trial)
    copied.params = dict(trial.params)
    copied.distributions = dict(trial.distributions)
    copied.user_attrs = dict(trial.user_attrs)
    copied.system_attrs = dict(trial.system_attrs)
    copied.intermediate_values = dict(trial.intermediate_values)
    return copied
