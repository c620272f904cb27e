"""Sign people in, slowing down those who guess."""

import logging
import math

from sqlalchemy import Engine

from storage import (
    begin_login,
    create_session,
    find_password_hash,
    forget_failures,
    record_action,
    replace_hash,
)
from tuner.server.passwords import check_password, find_better_hash

logger = logging.getLogger(__name__)


class LoginRefusedError(Exception):
    """Name or password is wrong; or there were too many attempts: ``wait_seconds`` is not 0."""

    def __init__(self, wait_seconds: int = 0) -> None:
        super().__init__()
        self.wait_seconds = wait_seconds


def sign_in(engine: Engine, name: str, password: str, *, network: str, address: str) -> str:
    """Return the secret of a new session; raises LoginRefusedError.

    Takes as long for a user who does not exist as for a wrong password.
    """
    wait = begin_login(engine, name, network)
    if wait > 0:
        raise LoginRefusedError(math.ceil(wait))
    found = find_password_hash(engine, name)
    is_right = check_password(None if found is None else found[1], password)
    if found is None or not is_right:
        # A name that nobody has may be a password typed into the wrong field.
        actor = "nobody" if found is None else f"user:{name}"
        record_action(engine, actor, "sign in: refused", address)
        logger.warning("Refused to sign in %s from %s", actor, address)
        raise LoginRefusedError
    user_id, password_hash = found
    forget_failures(engine, name)
    if (better := find_better_hash(password_hash, password)) is not None:
        replace_hash(engine, user_id, password_hash, better)
    record_action(engine, f"user:{name}", "sign in", address)
    return create_session(engine, user_id)
