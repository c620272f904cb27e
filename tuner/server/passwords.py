"""Hash and check passwords by argon2id, in the same time whether or not the user exists."""

import functools
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from tuner.errors import UsageError

_SHORTEST = 12  # guesses are slowed down by network, and there are many networks
# More is no password; hashing it would only cost time.
_LONGEST = 1024

# RFC 9106's second recommended option, argon2-cffi's default: 64 MiB, 3 passes, 4 lanes.
_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    """Return the hash to keep; raises UsageError for a password that is too short or too long."""
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise UsageError(f"A password has {_SHORTEST} to {_LONGEST} characters")
    return _hasher.hash(_normal(password))


def check_password(password_hash: str | None, password: str) -> bool:
    """Tell whether a password is right; of an unknown user (None), none is, as slowly."""
    if len(password) > _LONGEST:
        return False
    try:
        _hasher.verify(password_hash or dummy_hash(), _normal(password))
    except (Argon2Error, InvalidHashError):
        return False
    return password_hash is not None


def find_better_hash(password_hash: str, password: str) -> str | None:
    """Return a new hash of a right password where the kept one has weaker parameters than ours."""
    return _hasher.hash(_normal(password)) if _hasher.check_needs_rehash(password_hash) else None


@functools.cache
def dummy_hash() -> str:
    """Return what passwords of unknown users are checked against; the first call takes time."""
    return _hasher.hash(secrets.token_hex())


def _normal(password: str) -> str:
    """Return one spelling of a password: keyboards differ in how they compose ä."""
    return unicodedata.normalize("NFC", password)
