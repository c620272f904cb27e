"""Slow down those who guess passwords, for all servers together.

A stranger's attempt counts for the account as tried from that network, and for the network; that of
a device on which somebody has signed in to the account before counts for that device alone. So no
stranger keeps anybody out who comes from elsewhere, or who has been here. An attempt is counted
before the password is looked at, so that many at once gain nothing; a success is taken back.
"""

import hashlib
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, select, update

from storage.accounts import is_account_name
from storage.clock import epoch_now
from storage.engine import reading
from storage.schema import logins

# One failure is forgotten each so many seconds, and never more of them are remembered than a day's.
_FORGET_SECONDS = 900.0
_LONGEST_MEMORY_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Pace:
    """How many failures cost nothing, and how long one has to wait after further ones, at most."""

    n_free: int
    longest_seconds: float

    def wait_after(self, n_failed: int) -> float:
        """Return the seconds until the next attempt: a second, doubled with each failure."""
        if n_failed <= self.n_free:
            return 0.0
        return float(min(2.0 ** min(n_failed - self.n_free - 1, 20), self.longest_seconds))


OF_ACCOUNT = Pace(n_free=4, longest_seconds=60.0)
OF_NETWORK = Pace(n_free=19, longest_seconds=900.0)  # many people may share it
Paces = Mapping[str, Pace]


def paces_of(account: str, network: str, device: str | None = None) -> Paces:
    """Return for what an attempt counts; ``device`` is one that has signed in to the account."""
    if not is_account_name(account):  # databases compare loosely
        account = "#" + hashlib.sha256(account.encode()).hexdigest()
    if device is not None:
        return {f"device:{account}@{device}": OF_ACCOUNT}
    return {f"account:{account}@{network}": OF_ACCOUNT, f"network:{network}": OF_NETWORK}


def find_wait(engine: Engine, paces: Paces) -> float:
    """Return the seconds to wait until an attempt is allowed; writes nothing."""
    with reading(engine) as connection:
        return _wait(connection, _rows(connection, paces), paces)


def begin_login(engine: Engine, paces: Paces) -> float:
    """Count an attempt and return 0, or return the seconds to wait until one is allowed."""
    with engine.begin() as connection:
        connection.execute(delete(logins).where(logins.c.forgotten_at < epoch_now()))
        _add_missing(connection, sorted(paces))
        rows = _rows(connection, paces, for_update=True)
        if (wait := _wait(connection, rows, paces)) > 0:
            connection.rollback()
            return wait
        now = _now(connection)  # not before the lock: others may have been first
        for row in rows:
            kept = max(row.forgotten_at - now, 0.0)
            remembered = min(kept + _FORGET_SECONDS, _LONGEST_MEMORY_SECONDS)
            n_failed = math.ceil(remembered / _FORGET_SECONDS - 1e-6)
            changed = update(logins).where(logins.c.subject == row.subject)
            ready_at = now + paces[row.subject].wait_after(n_failed)
            connection.execute(changed.values(forgotten_at=now + remembered, ready_at=ready_at))
    return 0.0


def take_back(engine: Engine, paces: Paces) -> None:
    """Forget an attempt that succeeded; of the network that alone, else all before it, too.

    Who has an account could otherwise guess others' without end.
    """
    shared = [subject for subject, pace in paces.items() if pace is OF_NETWORK]
    with engine.begin() as connection:
        connection.execute(delete(logins).where(logins.c.subject.in_(paces.keys() - shared)))
        forgotten_at = logins.c.forgotten_at - _FORGET_SECONDS
        taken_back = update(logins).where(logins.c.subject.in_(shared))
        connection.execute(taken_back.values(forgotten_at=forgotten_at, ready_at=0.0))


def _now(connection: Connection) -> float:
    return float(connection.execute(select(epoch_now())).scalar_one())


def _rows(connection: Connection, paces: Paces, *, for_update: bool = False) -> Sequence[Row[Any]]:
    query = select(logins).where(logins.c.subject.in_(paces)).order_by(logins.c.subject)
    return connection.execute(query.with_for_update() if for_update else query).all()


def _wait(connection: Connection, rows: Sequence[Row[Any]], paces: Paces) -> float:
    """Return the longest of the waits; a clock that was put back makes none of them longer."""
    now = _now(connection)
    waits = [min(float(row.ready_at) - now, paces[row.subject].longest_seconds) for row in rows]
    return max([0.0, *waits])


def _add_missing(connection: Connection, subjects: list[str]) -> None:
    """Add rows where there are none; two servers may do so at the same time."""
    dialect = importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    adding = dialect.insert(logins)
    if connection.dialect.name == "mysql":
        adding = adding.on_duplicate_key_update(subject=logins.c.subject)
    else:
        adding = adding.on_conflict_do_nothing()
    now = _now(connection)
    rows = [{"subject": each, "forgotten_at": now, "ready_at": 0.0} for each in subjects]
    connection.execute(adding, rows)
