"""Who may use the service: people, by name, with a role and the hash of a password.

Hashing passwords is the caller's; here is what is kept. All of it is safe across processes.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, delete, insert, select, union_all, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import Delete, Update

from storage.clock import epoch_now
from storage.engine import reading
from storage.errors import AccountError
from storage.random_ids import random_id
from storage.schema import former_users, sessions, tokens, users

# Lower case only: MariaDB would take "Änne" for "anne", and each must have one counter of attempts.
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class Role(StrEnum):
    """What somebody may do; each role includes those before it."""

    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # creates, pauses, resumes and stops studies
    ADMIN = "admin"  # deletes, and writes through the dashboard

    def includes(self, other: "Role") -> bool:
        """Tell whether this role may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class User:
    """A user; ``created_at`` is seconds since 1970 by the database's clock."""

    name: str
    role: Role
    created_at: float


def is_account_name(name: str) -> bool:
    """Tell whether a user can have this name; no other name is ever looked up."""
    return _NAME.fullmatch(name) is not None


def create_user(engine: Engine, name: str, password_hash: str, role: Role) -> None:
    """Add a user; raises AccountError if the name is taken, or is none."""
    if not is_account_name(name):
        raise AccountError(
            f"{name!r} cannot be a user's name: use up to 64 of a-z, 0-9 and . _ @ -, "
            "beginning with a letter or digit"
        )
    row = {"user_id": random_id(), "name": name, "password_hash": password_hash, "role": role.value}
    try:
        with engine.begin() as connection:
            connection.execute(insert(users).values(created_at=epoch_now(), **row))
    except IntegrityError as error:
        raise AccountError(f"There is a user {name!r} already") from error


def list_users(engine: Engine) -> list[User]:
    """Return all users by name."""
    with reading(engine) as connection:
        rows = connection.execute(select(users).order_by(users.c.name))
        return [User(row.name, Role(row.role), row.created_at) for row in rows]


def find_password_hash(engine: Engine, name: str) -> tuple[int, str] | None:
    """Return a user's id and the hash of the password; None where there is no such user."""
    if not is_account_name(name):
        return None
    query = select(users.c.user_id, users.c.password_hash).where(users.c.name == name)
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else (int(row.user_id), str(row.password_hash))


def set_password_hash(engine: Engine, name: str, password_hash: str) -> None:
    """Change a user's password, and end all sessions of that user; raises AccountError."""
    with engine.begin() as connection:
        _change(
            connection, name, update(users).values(password_hash=password_hash), delete(sessions)
        )


def set_role(engine: Engine, name: str, role: Role) -> None:
    """Change a user's role, also for sessions that are open; raises AccountError."""
    with engine.begin() as connection:
        _change(connection, name, update(users).values(role=role.value))


def remove_user(engine: Engine, name: str) -> None:
    """Remove a user, and end all sessions of that user; raises AccountError."""
    with engine.begin() as connection:
        user_id = _change(connection, name, delete(sessions), delete(users))
        connection.execute(insert(former_users).values(user_id=user_id, removed_at=epoch_now()))


def _change(connection: Connection, name: str, *changes: Update | Delete) -> int:
    """Change a user's rows, in this order, and return the id."""
    user_id = connection.execute(select(users.c.user_id).where(users.c.name == name)).scalar()
    if user_id is None:
        raise AccountError(f"There is no user {name!r}: see `tuner user list`")
    for change in changes:
        connection.execute(change.where(change.table.c.user_id == user_id))
    return int(user_id)


def has_accounts(engine: Engine) -> bool:
    """Tell whether anybody has been given access: a user, or a token, whatever became of it."""
    ids = (users.c.user_id, tokens.c.token_id, former_users.c.user_id)
    anybody = union_all(*map(select, ids)).limit(1)
    with reading(engine) as connection:
        return connection.execute(anybody).first() is not None
