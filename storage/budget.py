"""What a study may spend, in trials and time, and whether its workers shall spend it now.

A slot of the budget is claimed together with a trial (``storage.claims``), and opens again if the
trial is given back (``storage.withdrawal``); so N trials means N finished trials.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from storage.clock import epoch_now
from storage.engine import reading
from storage.schema import budgets, exports, leases, workers

StudyState = Literal["open", "paused", "stopped"]

# Made once, as building costs more than running. Crews ask twice a second for the state alone: to
# count leases would cost each as much as there are workers.
_FIND_STATE = select(budgets.c.state).where(budgets.c.study_id == bindparam("of_study"))
_leased = select(func.count()).where(leases.c.study_id == bindparam("of_study")).scalar_subquery()
_is_past_deadline = budgets.c.deadline.is_not(None) & (budgets.c.deadline < epoch_now())
_FIND = select(
    budgets.c.n_trials,
    budgets.c.n_claimed,
    budgets.c.state,
    budgets.c.max_retries,
    budgets.c.priority,
    _leased.label("n_leased"),
    _is_past_deadline.label("is_past_deadline"),
).where(budgets.c.study_id == bindparam("of_study"))


@dataclass(frozen=True)
class Budget:
    """A study's budget in trials: granted, finished, and in training now."""

    n_trials: int
    n_finished: int
    n_leased: int
    is_past_deadline: bool
    state: StudyState = "open"
    max_retries: int = 2
    priority: int = 0

    @property
    def is_spent(self) -> bool:
        """Tell whether no worker will ever get another slot."""
        if self.is_past_deadline:
            return self.n_leased == 0
        return self.n_finished >= self.n_trials


def create_budget(engine: Engine, study_id: int, n_trials: int) -> None:
    """Give a new study its budget."""
    with engine.begin() as connection:
        begin_budget(connection, study_id, n_trials)


def begin_budget(connection: Connection, study_id: int, n_trials: int) -> None:
    """Do what `create_budget` does in the caller's transaction."""
    forget_leftovers(connection, study_id)
    add_budget(connection, study_id, n_trials, n_claimed=0)


def forget_leftovers(connection: Connection, study_id: int) -> None:
    """Delete rows of a deleted study with the id of a new one: SQLite reuses ids."""
    for table in (exports, leases, workers, budgets):
        connection.execute(delete(table).where(table.c.study_id == study_id))


def add_budget(connection: Connection, study_id: int, n_trials: int, n_claimed: int) -> None:
    """Give a study without a budget one, of which some slots are taken."""
    connection.execute(
        insert(budgets).values(
            study_id=study_id, n_trials=n_trials, n_claimed=n_claimed, created_at=epoch_now()
        )
    )


def find_budget(engine: Engine, study_id: int) -> Budget | None:
    """Return a study's budget; None when another program has made, copied or deleted it."""
    with reading(engine) as connection:
        row = connection.execute(_FIND, {"of_study": study_id}).one_or_none()
    if row is None:
        return None
    n_finished = row.n_claimed - row.n_leased
    return Budget(
        row.n_trials,
        n_finished,
        row.n_leased,
        bool(row.is_past_deadline),
        row.state,
        row.max_retries,
        row.priority,
    )


def find_state(engine: Engine, study_id: int) -> StudyState | None:
    """Return a study's state; None as `find_budget` does."""
    with reading(engine) as connection:
        state: StudyState | None = connection.execute(_FIND_STATE, {"of_study": study_id}).scalar()
    return state


def change_budget(  # noqa: PLR0913 (keywords that may be left out)
    engine: Engine,
    study_id: int,
    *,
    n_trials: int | None,
    timeout_seconds: float | None,
    max_retries: int | None = None,
    priority: int | None = None,
    keeps_deadline: bool = False,
) -> None:
    """Set the number of trials, of retries and the priority (None keeps them), and the deadline.

    The deadline is ``timeout_seconds`` from now; without them there is none any more, unless
    ``keeps_deadline``. Workers obey from their next claim.
    """
    given = {"n_trials": n_trials, "max_retries": max_retries, "priority": priority}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not keeps_deadline:
        values["deadline"] = None if timeout_seconds is None else epoch_now() + timeout_seconds
    if not values:
        return
    with engine.begin() as connection:
        connection.execute(update(budgets).where(budgets.c.study_id == study_id).values(**values))


def set_study_state(engine: Engine, study_id: int, state: StudyState) -> None:
    """Let workers train, pause or stop: they look at it at least once an epoch."""
    with engine.begin() as connection:
        connection.execute(
            update(budgets).where(budgets.c.study_id == study_id).values(state=state)
        )
