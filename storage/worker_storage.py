"""Optuna's storage as one worker of one study sees it: read from memory, written in bursts.

The public API of ``optuna.Study`` works on it. Which trials there are to ask for is decided by
``claim``; what is told reaches the database within a moment, by the writer's thread.
"""

import copy
import json
import logging
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from types import TracebackType
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Table

from storage import optuna_tables as tables
from storage.claims import Claimant, Seen, claim_trials, find_unheld
from storage.errors import ReplacedError, RolledBackError
from storage.leases import Lease
from storage.origin import ORIGIN
from storage.outbox import Outbox
from storage.resilience import Retry
from storage.study_storage import StudyStorage
from storage.withdrawal import Withdrawal, give_back
from storage.worker_trials import WorkerTrials
from storage.writer import Writer

logger = logging.getLogger(__name__)

_ONLY_WAITING = (TrialState.WAITING,)


class WorkerStorage(StudyStorage):
    """A storage for one worker's thread; a context manager that writes all before it ends.

    Holds at most two connections of the engine: one here, one in the writer's thread. Database
    errors that ``retry`` gives up on are raised by the next call that writes. Cannot be pickled.
    """

    def __init__(self, inner: RDBStorage, claimant: Claimant, retry: Retry) -> None:
        super().__init__(inner, claimant.study_id, retry)
        self._engine = inner.engine
        self._claimant = claimant
        self._outbox = Outbox(claimant.worker_id)
        origin = self._ask(inner.get_study_system_attrs).get(ORIGIN)
        self._trials = WorkerTrials(inner.engine, claimant.study_id, self._outbox, origin)
        self._writer = Writer(inner.engine, self._outbox, claimant, retry)
        self._claimed: deque[int] = deque()
        self._may_have_claimed = False
        self._seen: Seen | None = None
        self._may_have_news = True

    def on_lost(self, on_lost: Callable[[], None]) -> None:
        """Call this from now on for each trial that was taken away, when that is noticed."""
        self._trials.on_lost = on_lost

    def on_written(self, on_written: Callable[[int, TrialState], None]) -> None:
        """Call this from now on with number and state of each trial whose end is committed.

        By the thread that wrote it: as a rule the writer's.
        """
        self._trials.on_written = on_written

    def on_refused(self, on_refused: Callable[[int, str], None]) -> None:
        """Call this with number and reason of each trial that the database does not take.

        It is FAIL by then, with the reason as its `error`; for whoever trains it, it was taken
        away. By the thread that wrote it: as a rule the writer's.
        """
        self._trials.on_refused = on_refused

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
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        is_written = self._writer.close(self._claimant.lease_seconds)
        if not (is_written or isinstance(error, RolledBackError | ReplacedError)):
            logger.warning("Could not write all results: their trials will be given to others")
        self._trials.release_lost()

    def give_back(self, trial_id: int, reason: str, *, is_death: bool = False) -> Withdrawal:
        """Give one of our trials back to the budget, with all that is known of it.

        See ``storage.give_back``. Does nothing if it was taken away already. Database errors pass
        through; safe to repeat.
        """
        lease_id = self._outbox.held.get(trial_id)
        if lease_id is None:
            return Withdrawal.SETTLED_BEFORE
        self._outbox.flush(self._engine)
        lease = Lease(lease_id, self._claimant.study_id, trial_id)
        became = give_back(self._engine, lease, reason, is_death=is_death)
        self._trials.let_go(trial_id)
        self._may_have_news = True
        return became

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

        Expects news, too. Without patience a database that is away is not waited for: who has
        trials in training goes on with those.
        """
        self.expect_news()
        if n > len(self._claimed):
            if is_patient:
                self._retry.call("claim trials", lambda: self._claim(n))
            else:
                self._retry.attempt(lambda: self._claim(n), None)
        return min(n, len(self._claimed))

    def expect(self, space: Mapping[str, BaseDistribution]) -> None:
        """Take this for what trials of this study search, before the first one has said so."""
        self._trials.learn(space)

    def refresh(self) -> None:
        """Read what other workers have done."""
        self.check()
        self._retry.call("read trials", self._refresh)
        self._may_have_news = False

    def read_reports(self) -> None:
        """Read what others have done, with what they report of trials in training there.

        Nobody else reads that: neither samplers nor pruners look at it.
        """
        self._may_have_news = False  # or the next question would read again, without reports
        self._retry.attempt(lambda: self._trials.refresh(is_whole=True), None)

    def expect_news(self) -> None:
        """Let the next question for trials read what other workers have done.

        Who does not ask, as a random sampler, need not read.
        """
        self.check()
        self._trials.release_lost()
        self._may_have_news = True

    def _refresh(self) -> Seen:
        self._trials.refresh()
        if self._seen is None:
            self._seen = self._trials.seen
        return self._seen

    def _claim(self, n: int) -> None:
        seen = self._seen or self._refresh()
        if self._may_have_claimed:
            held = self._outbox.held.values()
            unheld = find_unheld(self._engine, self._claimant.worker_id, held)
            self._claimed += self._trials.admit(unheld)
        self._may_have_claimed = True
        if n > len(self._claimed):
            n_missing = n - len(self._claimed)
            claim = claim_trials(self._engine, self._claimant, n_missing, seen)
            self._seen = claim.seen
            self._claimed += self._trials.admit(claim.trials)
            if claim.trials:  # numbered under the study's lock, so that none is overlooked
                self._may_have_news = not self._trials.find_complete()
        self._may_have_claimed = False

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Hand out a claimed trial; a template (``enqueue_trial``) is stored by Optuna.

        Raises, as the setters below, if the database does not take what a template holds.
        """
        if template_trial is not None:
            self._check_template(template_trial)
            return self._inner.create_new_trial(study_id, template_trial)
        if not self._claimed:
            raise RuntimeError("No trial is claimed: call `claim` before `Study.ask`")
        return self._claimed.popleft()

    def _check_template(self, trial: FrozenTrial) -> None:
        for kind, attrs in (("user", trial.user_attrs), ("system", trial.system_attrs)):
            for key, value in attrs.items():
                self._limits.check_attr(key, value, f"{kind} attribute")
        for name, distribution in trial.distributions.items():
            value = distribution.to_internal_repr(trial.params[name])
            row = tables.param_row(name, value, distribution)
            self._limits.check_param(name, row["distribution_json"], value)
        for step in trial.intermediate_values:
            self._limits.check_step(step)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial; one of our own stays as we left it even if it was taken away."""
        return self._trials.find(trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,  # noqa: FBT001, FBT002 (Optuna's signature)
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials by number: our own as we left them, the others as of this round.

        A round begins with each claim, and with `expect_news`; its first question reads, unless the
        claim has shown that nothing is new. During an outage it goes on with what is known.
        Asked for WAITING ones only, it returns none: ``Study.ask`` would pop them, but taking
        them is part of ``claim``.
        """
        self._check_study(study_id)
        if states == _ONLY_WAITING:
            return []
        wanted = None if states is None else tuple(s for s in TrialState if s in states)
        if self._may_have_news:
            self._may_have_news = False  # also if the database is away: one try is enough
            self._retry.attempt(self._trials.refresh, None)
        trials = self._trials.select(wanted)
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter; raises ValueError if it has another kind of distribution elsewhere.

        Trials that other programs put into the study count for nothing here: see
        ``storage.guests``. As the setters below, also raises if the database does not take it, as
        far as that is known.
        """
        known = self._trials.find_distribution(param_name)
        if known is not None:
            check_distribution_compatibility(known, distribution)
        value = distribution.to_external_repr(param_value_internal)  # raises before it is queued
        row = tables.param_row(param_name, param_value_internal, distribution)
        self._limits.check_param(param_name, row["distribution_json"], param_value_internal)
        if known is None:
            self._trials.learn({param_name: distribution})

        def change(trial: FrozenTrial) -> None:
            trial.params = {**trial.params, param_name: value}
            trial.distributions = {**trial.distributions, param_name: distribution}

        self._write(trial_id, tables.params, param_name, row, change)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set the value of a step."""
        self._limits.check_step(step)

        def change(trial: FrozenTrial) -> None:
            values = {**trial.intermediate_values, step: intermediate_value}
            trial.intermediate_values = values

        row = tables.intermediate_value_row(step, intermediate_value)
        self._write(trial_id, tables.intermediate_values, step, row, change)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute."""
        text = self._limits.check_attr(key, value, "user attribute")
        stored = json.loads(text)  # a list of its own, as others will read it

        def change(trial: FrozenTrial) -> None:
            trial.user_attrs = {**trial.user_attrs, key: stored}

        row = {"key": key, "value_json": text}
        self._write(trial_id, tables.user_attrs, key, row, change)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a system attribute."""
        text = self._limits.check_attr(key, value, "system attribute")
        stored = json.loads(text)  # a list of its own, as others will read it

        def change(trial: FrozenTrial) -> None:
            trial.system_attrs = {**trial.system_attrs, key: stored}

        row = {"key": key, "value_json": text}
        self._write(trial_id, tables.system_attrs, key, row, change)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End one of our trials; its lease ends in the same transaction."""
        self.check()
        return self._trials.end(trial_id, state, values)

    def _write(
        self,
        trial_id: int,
        table: Table,
        key: Any,
        row: dict[str, Any],
        change: Callable[[FrozenTrial], None],
    ) -> None:
        self.check()
        self._trials.write(trial_id, table, key, row, change)
