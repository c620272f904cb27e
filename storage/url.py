"""Read, check and mask a storage URL."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import BadUrlError

# What people write -> the driver we ship. A bare mysql:// would mean mysqlclient to SQLAlchemy,
# and a bare postgresql:// psycopg2 before its version 2.1.
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
}
_EXAMPLES = "sqlite:///tuner.db, postgresql://user@host/database, mysql://user@host/database"


def parse_url(text: str) -> URL:
    """Return the URL with the driver filled in, or raise BadUrlError."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # What cannot be parsed cannot be masked either, so it is not repeated.
        raise BadUrlError(f"The storage URL cannot be parsed: write it like {_EXAMPLES}") from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise BadUrlError(
            f"Storage {mask_url(url)} names {url.drivername!r}: use one of {_EXAMPLES}"
        )
    if "@" in (url.host or ""):
        # Masking would show what stands behind the first @, so nothing is shown.
        raise BadUrlError("The storage URL has an @ in its user or password: write it as %40")
    if driver != "sqlite" and not url.database:
        raise BadUrlError(f"Storage {mask_url(url)} names no database: write {_EXAMPLES}")
    if driver == "sqlite" and url.database in (None, "", ":memory:"):
        raise BadUrlError("Workers cannot share an SQLite database in memory: name a file")
    return url.set(drivername=driver)


def with_password(text: str, file: Path) -> str:
    """Return the URL with the password that stands in a file, as secrets are handed to containers.

    Newlines at the end are no part of it, as the images of databases have it. Raises BadUrlError.
    """
    url = parse_url(text)
    if url.drivername == "sqlite":
        raise BadUrlError(f"Storage {mask_url(url)} has no password: leave the password file out")
    if url.password is not None or {"password", "passwd"} & set(url.query):
        raise BadUrlError(
            f"Storage {mask_url(url)} has a password already: take it out of the URL, or leave the "
            "password file out"
        )
    if not url.username:  # written as text again, the URL would lose its password
        raise BadUrlError(f"Storage {mask_url(url)} names no user whose password this is")
    try:
        password = file.read_bytes().decode().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BadUrlError(f"The storage's password file {file}: {reason}") from None
    if not password or "\0" in password:
        raise BadUrlError(f"The storage's password file {file} holds no password")
    return url.set(password=password).render_as_string(hide_password=False)


def mask_url(url: URL | str) -> str:
    """Return the URL for people to read: no password, wherever it stands."""
    if isinstance(url, str):
        try:
            url = make_url(url)
        except (ArgumentError, ValueError):
            return "(unreadable URL)"
    query = {name: "***" if "pass" in name.lower() else value for name, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def mask_password(message: str, url: URL) -> str:
    """Return a message of the driver's without the URL's password."""
    return message.replace(str(url.password), "***") if url.password else message


def sqlite_file(url: URL) -> Path | None:
    """Return the file of an SQLite URL; None for a database server."""
    return Path(url.database) if url.drivername == "sqlite" and url.database else None
