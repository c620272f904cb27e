"""Secrets that are handed out: tokens for programs, sessions for people. Only digests are kept.

A secret is 256 random bits, so that its plain SHA-256 can neither be inverted nor guessed; that
is what a lookup compares: how long that takes says nothing of the secret.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, Select, String, bindparam, delete, func, insert, select, update
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
    is_valid: bool
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None


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
    made = insert(tokens).values(created_at=epoch_now(), expires_at=expires_at, **row)
    with engine.begin() as connection:
        connection.execute(made)
    return token_id, secret


def list_tokens(engine: Engine) -> list[Token]:
    """Return all tokens, the revoked and expired too, in the order in which they were made."""
    moments = tokens.c["created_at", "expires_at", "revoked_at", "used_at"]
    query = select(*tokens.c["token_id", "name", "role"], _IS_VALID, *moments)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(tokens.c.created_at)).all()
    return [Token(n, name, Role(role), bool(ok), *when) for n, name, role, ok, *when in rows]


def revoke_token(engine: Engine, token_id: int) -> None:
    """End a token for good; safe to repeat. Raises AccountError if there is none."""
    revoked_at = func.coalesce(tokens.c.revoked_at, epoch_now())
    revoked = update(tokens).where(tokens.c.token_id == token_id).values(revoked_at=revoked_at)
    with engine.begin() as connection:
        if connection.execute(revoked).rowcount == 0:
            raise AccountError(f"There is no token {token_id}: see `tuner token list`")


_IS_VALID = tokens.c.revoked_at.is_(None) & (
    tokens.c.expires_at.is_(None) | (tokens.c.expires_at > epoch_now())
)
_IS_NEWLY_USED = tokens.c.used_at.is_(None) | (tokens.c.used_at < epoch_now() - _USE_SECONDS)

# Made once: building a statement costs more time than running it.
_GIVEN = bindparam("digests", type_=String(), expanding=True)
_TOKENS = select(
    *tokens.c["digest", "token_id", "name", "role"], _IS_NEWLY_USED.label("is_newly_used")
).where(tokens.c.digest.in_(_GIVEN), _IS_VALID)
_SESSIONS = (
    select(sessions.c.digest, users.c.name, users.c.role)
    .join(users, users.c.user_id == sessions.c.user_id)
    .where(sessions.c.digest.in_(_GIVEN), sessions.c.expires_at > epoch_now())
)


def find_tokens(engine: Engine, given: Collection[str]) -> dict[str, Bearer]:
    """Return whose tokens these are, of those that are valid now; see ``note_use``."""
    found = {}
    for secret, row in _find(engine, _TOKENS, [s for s in given if s.startswith(TOKEN_PREFIX)]):
        name = f"{row.token_id}:{row.name}" if row.name else str(row.token_id)
        to_note = row.token_id if row.is_newly_used else None
        found[secret] = Bearer(name, Role(row.role), to_note)
    return found


def find_sessions(engine: Engine, given: Collection[str]) -> dict[str, Bearer]:
    """Return whose sessions these are, with the roles users have now; those over are left out."""
    rows = _find(engine, _SESSIONS, given)
    return {secret: Bearer(row.name, Role(row.role)) for secret, row in rows}


def _find(engine: Engine, query: Select[Any], given: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield the row of each secret that is found."""
    by_digest = {_digest(secret): secret for secret in given}
    if by_digest:
        with reading(engine) as connection:
            rows = connection.execute(query, {"digests": list(by_digest)}).all()
        # Databases may compare otherwise than letter by letter; a dictionary does not.
        yield from ((by_digest[row.digest], row) for row in rows if row.digest in by_digest)


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
