"""Slow down those who guess passwords, by account and by address, for all servers together.

An attempt is counted before the password is looked at, so that many at once gain nothing; one
that succeeds is forgotten for its account, never for its address: who has an account of their
own could otherwise guess others' without end.
"""

import hashlib
import importlib
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, case, delete, select, update

from storage.accounts import is_account_name
from storage.clock import epoch_now
from storage.schema import logins

_FORGOTTEN_AFTER_SECONDS = 24 * 3600.0


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


# Many people share an address, and nobody shall lock others out for long by naming their account.
OF_ACCOUNT = Pace(n_free=4, longest_seconds=60.0)
OF_ADDRESS = Pace(n_free=19, longest_seconds=900.0)


def begin_login(engine: Engine, account: str, address: str) -> float:
    """Count an attempt and return 0, or return the seconds to wait until one is allowed."""
    paces = {_of_account(account): OF_ACCOUNT, f"address:{address}"[:128]: OF_ADDRESS}
    with engine.begin() as connection:
        _forget_old(connection)
        _add_missing(connection, sorted(paces))
        rows = connection.execute(
            select(logins)
            .where(logins.c.subject.in_(paces))
            .order_by(logins.c.subject)
            .with_for_update()
        ).all()
        now = _now(connection)  # not before the lock: others may have been first
        wait = max(row.ready_at for row in rows) - now
        if wait > 0:
            return float(wait)
        n_failed = {row.subject: row.n_failed + 1 for row in rows}
        ready_at = {name: now + paces[name].wait_after(n) for name, n in n_failed.items()}
        connection.execute(
            update(logins)
            .where(logins.c.subject.in_(paces))
            .values(
                n_failed=logins.c.n_failed + 1,
                tried_at=now,
                ready_at=case(ready_at, value=logins.c.subject),
            )
        )
    return 0.0


def forget_failures(engine: Engine, account: str) -> None:
    """Let an account whose user has signed in begin anew."""
    with engine.begin() as connection:
        connection.execute(delete(logins).where(logins.c.subject == _of_account(account)))


def _of_account(account: str) -> str:
    """Return the key of an account; of what cannot be one, a digest: databases compare loosely."""
    if not is_account_name(account):
        account = "#" + hashlib.sha256(account.encode()).hexdigest()
    return f"account:{account}"


def _now(connection: Connection) -> float:
    return float(connection.execute(select(epoch_now())).scalar_one())


def _forget_old(connection: Connection) -> None:
    is_old = logins.c.tried_at < epoch_now() - _FORGOTTEN_AFTER_SECONDS
    connection.execute(delete(logins).where(is_old))


def _add_missing(connection: Connection, subjects: list[str]) -> None:
    """Add rows where there are none; two servers may do so at the same time."""
    now = _now(connection)
    dialect = importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    adding = dialect.insert(logins)
    if connection.dialect.name == "mysql":
        adding = adding.on_duplicate_key_update(subject=logins.c.subject)
    else:
        adding = adding.on_conflict_do_nothing()
    rows = [{"subject": name, "n_failed": 0, "tried_at": now, "ready_at": 0.0} for name in subjects]
    connection.execute(adding, rows)
