"""A study's trials as one worker sees them: its own as it left them, the others as last read.

Keeps what is in memory and what is in the outbox in step. Thread-safe.
"""

import copy
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, Table

from storage import optuna_tables as tables
from storage.claims import ClaimedTrial, Seen
from storage.engine import reading
from storage.guests import Guests
from storage.history import History
from storage.origin import ORIGIN
from storage.outbox import Outbox

logger = logging.getLogger(__name__)


class WorkerTrials:
    """The trials of a study, those in training here among them."""

    def __init__(
        self, engine: Engine, study_id: int, outbox: Outbox, origin: str | None = None
    ) -> None:
        self._engine = engine
        self.on_lost: Callable[[], None] = lambda: None
        self.on_written: Callable[[int, TrialState], None] = lambda _number, _state: None
        self.on_refused: Callable[[int, str], None] = lambda _number, _reason: None
        self._outbox = outbox
        outbox.on_written = self._tell_written
        outbox.on_refused = self._tell_refused
        self._numbers: dict[int, int] = {}  # of what was held here, for the writer's thread
        self._lock = threading.RLock()
        self._origin = origin
        self._guests = Guests(origin)
        self._history = History(study_id, self._guests.show)
        self._own: dict[int, FrozenTrial] = {}  # in training here
        self._lost: dict[int, FrozenTrial] = {}  # taken away while in training here

    @property
    def seen(self) -> Seen:
        """What was seen at the last refresh, for a first claim."""
        return Seen(self._history.last_trial_id, self._history.waiting_ids)

    def refresh(self, *, is_whole: bool = False) -> None:
        """Read what other workers have done since the last refresh.

        If it is whole, also what they have reported of trials in training there.
        """
        with self._lock, reading(self._engine) as connection:
            self.release_lost()
            self._history.refresh(connection, is_whole=is_whole)
            self._show_guests()

    def find_complete(self) -> bool:
        """Tell, after a claim, whether a refresh would find nothing."""
        with self._lock:
            return self._history.find_complete()

    def release_lost(self) -> None:
        """Let go of what was taken away; whoever trains it learns of it by the next call."""
        with self._lock:
            for trial_id in self._outbox.pop_lost():
                is_refused = self._outbox.find_refusal(trial_id) is not None
                if not is_refused:
                    self.on_lost()
                if trial_id in self._own:
                    self._lost[trial_id] = self._own.pop(trial_id)
                elif not is_refused:
                    number = self._history.find(trial_id).number
                    message = "Trial %d was taken away meanwhile: its result is dropped"
                    logger.warning(message, number, extra={"trial": number})
                self._history.release(trial_id)

    def let_go(self, trial_id: int) -> None:
        """Hold a trial no more that was given back, and read it again."""
        with self._lock:
            self._outbox.let_go(trial_id)
            self._own.pop(trial_id, None)
            self._history.release(trial_id)

    def admit(self, claimed: Sequence[ClaimedTrial]) -> list[int]:
        """Hold what was claimed, and return what of it can be trained; new trials are not read."""
        with self._lock:
            self.release_lost()
            for trial in claimed:
                if trial.number is not None:
                    self._history.keep(_new_trial(trial, trial.number))
            if any(trial.number is None for trial in claimed):
                self.refresh(is_whole=True)
            return [trial.trial_id for trial in claimed if self._hold(trial)]

    def _hold(self, claimed: ClaimedTrial) -> bool:
        self._outbox.hold(claimed.trial_id, claimed.lease_id)
        frozen = self._history.find(claimed.trial_id)
        if frozen.state is not TrialState.RUNNING:
            # Another program has ended it while nobody held it: its lease has to end too.
            self._outbox.touch(claimed.trial_id)
            return False
        if self._origin is not None:
            row = tables.attr_row(ORIGIN, self._origin)
            self._outbox.write(claimed.trial_id, tables.system_attrs, ORIGIN, row)
            frozen = copy.copy(frozen)
            frozen.system_attrs = {**frozen.system_attrs, ORIGIN: self._origin}
        self._own[claimed.trial_id] = frozen
        self._numbers[claimed.trial_id] = frozen.number
        self._history.keep(frozen)
        return True

    def _tell_written(self, trial_id: int, state: TrialState) -> None:
        self.on_written(self._numbers.pop(trial_id), state)

    def _tell_refused(self, trial_id: int, reason: str) -> None:
        self.on_refused(self._numbers.pop(trial_id), reason)

    def find(self, trial_id: int) -> FrozenTrial:
        """Return a trial; one of our own stays as we left it even if it was taken away."""
        with self._lock:
            own = self._own.get(trial_id) or self._lost.get(trial_id)
            if own is not None:
                return _copied(own)  # Optuna's Trial changes the one that it is given
            return self._history.find(trial_id)

    def select(self, states: Collection[TrialState] | None) -> list[FrozenTrial]:
        """Return a new list of the trials in some states, or of all, by number."""
        with self._lock:
            return self._history.select(states)

    def find_distribution(self, param_name: str) -> BaseDistribution | None:
        """Return the distribution that a parameter has in any trial of the study's own."""
        return self._guests.find_distribution(param_name)

    def learn(self, distributions: Mapping[str, BaseDistribution]) -> None:
        """Show samplers what others have put into the study by these distributions."""
        with self._lock:
            self._guests.learn(distributions)
            self._show_guests()

    def _show_guests(self) -> None:
        for trial in self._guests.pop_news():
            self._history.keep(trial)

    def write(
        self,
        trial_id: int,
        table: Table,
        key: Any,
        row: dict[str, Any],
        change: Callable[[FrozenTrial], None],
    ) -> None:
        """Put a row into the outbox and show it at once; trials that were read stay as they are.

        Raises UpdateFinishedTrialError if the trial is not in training here, as ``end`` does.
        """
        with self._lock:
            trial = copy.copy(self._running(trial_id))
            self._outbox.write(trial_id, table, key, row)
            change(trial)
            self._own[trial_id] = trial
            self._history.keep(trial)

    def end(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        """Put the end of one of our trials into the outbox, and show it; False if it is no end."""
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

    def _running(self, trial_id: int) -> FrozenTrial:
        own = self._own.get(trial_id)
        if own is None:
            state = self._history.find(trial_id).state.name
            reason = self._outbox.find_refusal(trial_id) or f"it is {state}"
            raise UpdateFinishedTrialError(
                f"The trial with id {trial_id} is not in training by this worker: {reason}"
            )
        return own


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
