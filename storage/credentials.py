"""Secrets that are handed out: tokens for programs, sessions for people. Only digests are kept.

A secret is 256 random bits, so that its plain SHA-256 can neither be inverted nor guessed; that
is what a lookup compares: how long that takes says nothing of the secret.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import (
    Engine,
    Select,
    String,
    bindparam,
    cast,
    delete,
    false,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from storage.accounts import Role
from storage.clock import epoch_now
from storage.engine import reading
from storage.errors import AccountError
from storage.random_ids import random_id
from storage.schema import sessions, tokens, users

# So that a token found in a log or a repository is recognised as one.
TOKEN_PREFIX = "tuner_"
SESSION_SECONDS = 12 * 3600.0
# So that programs that poll write nothing: for whether a token can go, this is exact enough.
_USE_SECONDS = 3600.0


@dataclass(frozen=True)
class Token:
    """A token as it is kept; moments are seconds since 1970 by the database's clock.

    ``used_at`` is its last use, or up to an hour before.
    """

    token_id: int
    name: str
    role: Role
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None
    is_valid: bool


@dataclass(frozen=True)
class Bearer:
    """Who a secret stands for: a user's name, or a token's id, and its name where it has one.

    ``use_to_note`` is the number of a token of which ``note_use`` has to hear.
    """

    name: str
    role: Role
    use_to_note: int | None = field(default=None, compare=False)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def create_token(
    engine: Engine, role: Role, *, name: str = "", lifetime_seconds: float | None = None
) -> tuple[int, str]:
    """Make a token; return its id and its secret, which cannot be read again."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token_id = random_id()
    row = {"token_id": token_id, "name": name[:64], "digest": _digest(secret), "role": role.value}
    expires_at = None if lifetime_seconds is None else epoch_now() + lifetime_seconds
    with engine.begin() as connection:
        connection.execute(
            insert(tokens).values(created_at=epoch_now(), expires_at=expires_at, **row)
        )
    return token_id, secret


def list_tokens(engine: Engine) -> list[Token]:
    """Return all tokens, the revoked and expired too, in the order in which they were made."""
    query = select(tokens, _IS_VALID.label("is_valid")).order_by(tokens.c.created_at)
    with reading(engine) as connection:
        rows = connection.execute(query).mappings().all()
    kept: list[dict[str, Any]] = [
        {one.name: row[one.name] for one in fields(Token)} for row in rows
    ]
    typed = ({"role": Role(row["role"]), "is_valid": bool(row["is_valid"])} for row in kept)
    return [Token(**(row | more)) for row, more in zip(kept, typed, strict=True)]


def revoke_token(engine: Engine, token_id: int) -> None:
    """End a token for good; safe to repeat. Raises AccountError if there is none."""
    with engine.begin() as connection:
        is_it = tokens.c.token_id == token_id
        if connection.execute(select(tokens.c.token_id).where(is_it)).first() is None:
            raise AccountError(f"There is no token {token_id}: see `tuner token list`")
        connection.execute(
            update(tokens)
            .where(is_it, tokens.c.revoked_at.is_(None))
            .values(revoked_at=epoch_now())
        )


_IS_VALID = tokens.c.revoked_at.is_(None) & or_(
    tokens.c.expires_at.is_(None), tokens.c.expires_at > epoch_now()
)
_IS_NEWLY_USED = tokens.c.used_at.is_(None) | (tokens.c.used_at < epoch_now() - _USE_SECONDS)

# Made once: building a statement costs more time than running it.
_TOKENS = select(
    tokens.c.digest,
    (cast(tokens.c.token_id, String(16)) + ":" + tokens.c.name).label("name"),
    tokens.c.token_id.label("number"),
    tokens.c.role,
    _IS_NEWLY_USED.label("is_newly_used"),
).where(tokens.c.digest.in_(bindparam("digests", expanding=True)), _IS_VALID)
_SESSIONS = (
    select(
        sessions.c.digest,
        users.c.name,
        users.c.user_id.label("number"),
        users.c.role,
        false().label("is_newly_used"),
    )
    .join(users, users.c.user_id == sessions.c.user_id)
    .where(
        sessions.c.digest.in_(bindparam("digests", expanding=True)),
        sessions.c.expires_at > epoch_now(),
    )
)


def find_tokens(engine: Engine, given: Collection[str]) -> dict[str, Bearer]:
    """Return whose tokens these are, of those that are valid now; see ``note_use``."""
    ours = [secret for secret in given if secret.startswith(TOKEN_PREFIX)]
    return _find_bearers(engine, _TOKENS, ours)


def find_sessions(engine: Engine, given: Collection[str]) -> dict[str, Bearer]:
    """Return whose sessions these are, with the roles users have now; those over are left out."""
    return _find_bearers(engine, _SESSIONS, given)


def _find_bearers(
    engine: Engine, query: Select[tuple[str, str, int, str, bool]], given: Collection[str]
) -> dict[str, Bearer]:
    by_digest = {_digest(secret): secret for secret in given}
    if not by_digest:
        return {}
    with reading(engine) as connection:
        rows = connection.execute(query, {"digests": list(by_digest)}).all()
    # Databases may compare otherwise than letter by letter; a dictionary does not.
    return {
        by_digest[row.digest]: Bearer(
            row.name.rstrip(":"), Role(row.role), row.number if row.is_newly_used else None
        )
        for row in rows
        if row.digest in by_digest
    }


def note_use(engine: Engine, token_ids: Collection[int]) -> None:
    """Note that tokens are used; waits for SQLite's lock, so nobody should wait for this."""
    note = update(tokens).where(tokens.c.token_id.in_(token_ids), _IS_NEWLY_USED)
    # A full disk keeps nobody from reading.
    with contextlib.suppress(SQLAlchemyError), engine.begin() as connection:
        connection.execute(note.values(used_at=epoch_now()))


def create_session(
    engine: Engine, user_id: int, password_hash: str, better_hash: str | None = None
) -> str | None:
    """Begin a session of a user, and forget those that are over; return its secret.

    The password is kept as ``better_hash`` from now on, if there is one. None where it is another
    one by now, or the user gone: nobody is let in by what has changed meanwhile.
    """
    secret = secrets.token_urlsafe(32)
    is_same = (users.c.user_id == user_id) & (users.c.password_hash == password_hash)
    # An update locks: what changes the password now finds this session, and ends it.
    kept = update(users).where(is_same).values(password_hash=better_hash or password_hash)
    row = {"digest": _digest(secret), "user_id": user_id, "created_at": epoch_now()}
    with engine.begin() as connection:
        if connection.execute(kept).rowcount == 0:
            return None
        connection.execute(delete(sessions).where(sessions.c.expires_at < epoch_now()))
        connection.execute(insert(sessions).values(**row, expires_at=epoch_now() + SESSION_SECONDS))
    return secret


def end_session(engine: Engine, secret: str) -> None:
    """End a session, if it is one."""
    with engine.begin() as connection:
        connection.execute(delete(sessions).where(sessions.c.digest == _digest(secret)))
