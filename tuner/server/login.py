"""Sign people in, slowing down those who guess."""

import hmac
import logging
import math
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from sqlalchemy import Engine

from storage import (
    begin_login,
    create_session,
    end_session,
    find_password_hash,
    find_sessions,
    find_wait,
    paces_of,
    record_action,
    take_back,
)
from storage.logins import Paces
from tuner.server.passwords import check_password, find_better_hash

logger = logging.getLogger(__name__)

_DEVICE_CHARACTERS = 16


class LoginRefusedError(Exception):
    """Name or password is wrong; or there were too many attempts: ``wait_seconds`` is not 0."""

    def __init__(self, wait_seconds: float = 0.0) -> None:
        super().__init__()
        self.wait_seconds = math.ceil(wait_seconds)


@dataclass(frozen=True)
class Attempt:
    """An attempt to sign in, and what it counts for; ``found`` is the user's id and hash."""

    name: str
    address: str
    found: tuple[int, str] | None
    device: str | None
    paces: Paces


def look_at(
    engine: Engine, name: str, *, network: str, address: str, device_cookie: str | None
) -> Attempt:
    """Return the attempt if it may be made now; raises LoginRefusedError. Writes nothing."""
    found = find_password_hash(engine, name)
    device = None if found is None else _find_device(device_cookie or "", name, found[1])
    paces = paces_of(name, network, device)
    if (wait := find_wait(engine, paces)) > 0:
        raise LoginRefusedError(wait)
    return Attempt(name, address, found, device, paces)


def sign_in(engine: Engine, attempt: Attempt, password: str) -> tuple[str, str]:
    """Return the secret of a new session, and a device's cookie; raises LoginRefusedError.

    Takes as long for a user who does not exist as for a wrong password.
    """
    if (wait := begin_login(engine, attempt.paces)) > 0:
        raise LoginRefusedError(wait)
    user_id, kept = attempt.found or (0, None)
    secret = better = None
    if check_password(kept, password) and kept is not None:
        better = find_better_hash(kept, password)
        secret = create_session(engine, user_id, kept, better)
    # A name that nobody has may be a password typed into the wrong field.
    actor = "nobody" if kept is None else f"user:{attempt.name}"
    if kept is None or secret is None:
        record_action(engine, actor, "sign in: refused", attempt.address)
        logger.warning("Refused to sign in %s from %s", actor, attempt.address)
        raise LoginRefusedError
    take_back(engine, attempt.paces)
    record_action(engine, actor, "sign in", attempt.address)
    device = attempt.device or secrets.token_urlsafe(12)
    return secret, _sign(device, attempt.name, better or kept)


def sign_out(engine: Engine, secret: str, address: str) -> None:
    """End a session, if it is one."""
    bearer = find_sessions(engine, [secret]).get(secret)
    if bearer is not None:
        end_session(engine, secret)
        record_action(engine, f"user:{bearer.name}", "sign out", address)


def _sign(device: str, name: str, password_hash: str) -> str:
    """Return the cookie of a device: whoever has it has signed in with the password that is kept.

    The hash is the key, of which nobody outside knows the salt; it ends with the password.
    """
    digest = hmac.digest(password_hash.encode(), f"{name} {device}".encode(), "sha256")
    return device + urlsafe_b64encode(digest).decode().rstrip("=")


def _find_device(cookie: str, name: str, password_hash: str) -> str | None:
    device = cookie[:_DEVICE_CHARACTERS]
    return device if hmac.compare_digest(_sign(device, name, password_hash), cookie) else None
