"""A study's trials in memory: each finished one is read once, with few statements for many.

Leaves to others: whose trials they are, and writing.
"""

from collections.abc import Callable, Collection
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Row, bindparam, select

from storage import optuna_tables as tables
from storage.details import Details
from storage.ranges import find_ranges, parts, read_rows

# Databases limit the parameters of a statement; SQLite before 3.32 to 999.
_IDS_PER_STATEMENT = 500

# Made once: building a statement costs more time than running it.
_QUERY = select(tables.trials).order_by(tables.trials.c.trial_id)
_IN_RANGE = _QUERY.where(tables.trials.c.trial_id.between(bindparam("low"), bindparam("high")))
_AMONG = _QUERY.where(tables.trials.c.trial_id.in_(bindparam("ids", expanding=True)))
_NO_MORE_WAITING = _AMONG.where(tables.trials.c.state != TrialState.WAITING)
_FROM = _QUERY.where(
    tables.trials.c.study_id == bindparam("of_study"), tables.trials.c.trial_id >= bindparam("low")
)


class History:
    """The trials of one study, in the order of their numbers; not thread-safe.

    A refresh reads what is new and what was unfinished at the last look, except for the trials
    that the caller keeps itself. Optuna numbers trials under a lock of the study, so that none
    appears below the last id that was seen. Those that are kept may be ahead of what was read.
    """

    def __init__(self, study_id: int, show: Callable[[FrozenTrial], FrozenTrial]) -> None:
        """``show`` is called with each trial that was read, and returns what is seen of it."""
        self._study_id = study_id
        self._show = show
        self._trials: list[FrozenTrial] = []
        self._index: dict[int, int] = {}
        self._ahead: dict[int, FrozenTrial] = {}  # kept, and newer than all that was read
        self._unfinished: set[int] = set()
        self._selected: dict[tuple[TrialState, ...], list[FrozenTrial]] = {}

    @property
    def last_trial_id(self) -> int:
        """The highest id that was seen; -1 for a study without trials."""
        return self._trials[-1]._trial_id if self._trials else -1

    @property
    def waiting_ids(self) -> list[int]:
        """The trials that were WAITING at the last look, lowest number first."""
        ids = sorted(self._unfinished)
        return [i for i in ids if self.find(i).state is TrialState.WAITING]

    def find(self, trial_id: int) -> FrozenTrial:
        """Return a trial as it was last seen or kept; raises KeyError."""
        if trial_id in self._ahead:
            return self._ahead[trial_id]
        return self._trials[self._index[trial_id]]

    def select(self, states: Collection[TrialState] | None) -> list[FrozenTrial]:
        """Return a new list of the trials in some states, or of all."""
        ahead = self._ahead.values()
        if states is None:
            return [*self._trials, *ahead]
        key = tuple(states)
        if not all(state.is_finished() for state in key):
            return [trial for trial in [*self._trials, *ahead] if trial.state in states]
        if key not in self._selected:
            self._selected[key] = [trial for trial in self._trials if trial.state in states]
        return [*self._selected[key], *(trial for trial in ahead if trial.state in states)]

    def keep(self, trial: FrozenTrial) -> None:
        """Show this instead of what is stored, and read the trial no more."""
        self._unfinished.discard(trial._trial_id)
        if trial._trial_id in self._index:
            self._put(trial)
        else:
            self._ahead[trial._trial_id] = trial

    def release(self, trial_id: int) -> None:
        """Read a trial again from the next refresh on."""
        self._unfinished.add(trial_id)

    def refresh(self, connection: Connection, *, is_whole: bool = False) -> None:
        """Read what is new or was unfinished; see ``Details`` for what is whole."""
        rows = self._changed_rows(connection)
        kept = {i: trial for i, trial in self._ahead.items() if i not in self._unfinished}
        unknown = sorted(row.trial_id for row in rows if row.trial_id not in kept)
        details = Details(connection, self._study_id, unknown, is_whole=is_whole)
        for row in rows:
            trial = kept.get(row.trial_id) or self._show(details.build(row))
            if trial.state.is_finished() or row.trial_id in kept:
                self._unfinished.discard(row.trial_id)
            else:
                self._unfinished.add(row.trial_id)
            self._put(trial)
            self._ahead.pop(row.trial_id, None)

    def find_complete(self) -> bool:
        """Tell whether a refresh would find nothing: all was finished, and no number is missing
        up to the last one that is kept, as after a claim where nobody else is at work."""
        first = self._trials[-1].number + 1 if self._trials else 0
        numbers = [trial.number for trial in self._ahead.values()]
        if self._unfinished or numbers != list(range(first, first + len(numbers))):
            return False
        for trial in self._ahead.values():
            self._put(trial)
        self._ahead.clear()
        return True

    def _put(self, trial: FrozenTrial) -> None:
        index = self._index.get(trial._trial_id)
        if index is None:
            self._index[trial._trial_id] = len(self._trials)
            self._trials.append(trial)
        else:
            was_finished = self._trials[index].state.is_finished()
            self._trials[index] = trial
            if not was_finished and not trial.state.is_finished():
                return
        self._selected.clear()

    def _changed_rows(self, connection: Connection) -> list[Row[Any]]:
        """Return the trials' own rows, by id; of WAITING ones only those that wait no more."""
        last = self.last_trial_id
        waiting = self.waiting_ids
        running = sorted(i for i in self._unfinished.difference(waiting) if i <= last)
        # What runs as a rule has come last, so that one statement reads that and what is new.
        recent, _ = find_ranges([*running, last + 1])[-1]
        earlier = [i for i in running if i < recent]
        rows = read_rows(connection, _IN_RANGE, _AMONG, earlier, _IDS_PER_STATEMENT)
        for some in parts(waiting, _IDS_PER_STATEMENT):
            rows += connection.execute(_NO_MORE_WAITING, {"ids": some}).all()
        changed = [row for row in rows if row.trial_id in self._unfinished]
        from_here = {"of_study": self._study_id, "low": recent}
        seen = {row.trial_id for row in changed}.union(waiting)
        changed += [
            row
            for row in connection.execute(_FROM, from_here).all()
            if row.trial_id > last
            or (row.trial_id in self._unfinished and row.trial_id not in seen)
        ]
        return changed
