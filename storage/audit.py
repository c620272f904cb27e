"""Who did what in the service, when, from where: one row a write, never changed afterwards.

Rows are deleted only where somebody asks for it, by their age.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select

from storage.clock import epoch_now
from storage.engine import reading
from storage.schema import audit


@dataclass(frozen=True)
class AuditEntry:
    """One row; ``at`` is seconds since 1970 by the database's clock."""

    at: float
    actor: str
    action: str
    address: str


def record_action(engine: Engine, actor: str, action: str, address: str) -> None:
    """Add a row. Never hand secrets to it: it is for reading."""
    if len(action) > 255:  # a long name in the middle hides neither verb nor change
        action = f"{action[:152]}...{action[-100:]}"
    row = {"actor": actor[:128], "action": action, "address": address[:64]}
    with engine.begin() as connection:
        connection.execute(insert(audit).values(at=epoch_now(), **row))


def list_audit(engine: Engine, limit: int = 100) -> list[AuditEntry]:
    """Return the newest rows, newest first."""
    newest = select(*audit.c["at", "actor", "action", "address"]).order_by(audit.c.audit_id.desc())
    with reading(engine) as connection:
        return [AuditEntry(*row) for row in connection.execute(newest.limit(limit))]


def prune_audit(engine: Engine, older_than_seconds: float) -> int:
    """Delete the rows that are older; return how many. Safe to repeat."""
    is_old = audit.c.at < epoch_now() - older_than_seconds
    with engine.begin() as connection:
        return connection.execute(delete(audit).where(is_old)).rowcount
