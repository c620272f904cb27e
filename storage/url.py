"""Read, check and mask a storage URL; what its options mean is ``storage.url_options``'s."""

import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import BadUrlError
from storage.url_options import translate_options

# What people write -> the driver we ship. A bare mysql:// would mean mysqlclient to SQLAlchemy,
# and a bare postgresql:// psycopg2 before its version 2.1.
_DRIVERS = {
    **dict.fromkeys(["postgresql", "postgres", "pgsql", "postgis"], "postgresql+psycopg"),
    **dict.fromkeys(["mysql", "mariadb", "mysql2", "trilogy"], "mysql+pymysql"),
    **dict.fromkeys(["sqlite", "sqlite3"], "sqlite"),
}
# After a plus: other clients of the same databases, whose URLs mean the same.
_CLIENTS = {
    "postgresql+psycopg": "psycopg psycopg2 psycopg2cffi psycopg_async asyncpg pg8000",
    "mysql+pymysql": "pymysql mysqldb mysqlconnector mariadbconnector aiomysql asyncmy cymysql",
    "sqlite": "pysqlite aiosqlite",
}
_SECRET = re.compile("pass|pwd|secret|token|api", re.IGNORECASE)
_EXAMPLES = "sqlite:///tuner.db, postgresql://user@host/database, mysql://user@host/database"


def parse_url(text: str) -> URL:
    """Return the URL with our driver and its options, or raise BadUrlError.

    What cloud vendors print is taken, and URLs of other clients: JDBC, Django, Rails, Prisma.
    """
    try:
        url = _read(text)
    except (ArgumentError, ValueError):
        # What cannot be parsed cannot be masked either, so it is not repeated.
        raise BadUrlError(f"The storage URL cannot be parsed: write it like {_EXAMPLES}") from None
    backend, _, client = url.drivername.partition("+")
    driver = _DRIVERS.get(backend)
    if driver is None or (client and client not in _CLIENTS[driver].split()):
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
    return translate_options(url.set(drivername=driver))


def _read(text: str) -> URL:
    """Parse a URL as it is pasted: with quotes and blanks around it, or as JDBC writes it."""
    text = text.strip().strip("'\"").removeprefix("jdbc:")
    if text.startswith("sqlite:") and "://" not in text:
        text = f"sqlite:///{text.removeprefix('sqlite:')}"
    return make_url(text)


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
            url = _read(url)
        except (ArgumentError, ValueError):
            return "(unreadable URL)"
    query = {name: "***" if _SECRET.search(name) else value for name, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def mask_password(message: str, url: URL) -> str:
    """Return a message of the driver's without the URL's passwords."""
    hidden = [url.password, *(v for name, v in url.query.items() if _SECRET.search(name))]
    for secret in hidden:
        message = message.replace(str(secret), "***") if secret else message
    return message


def sqlite_file(url: URL) -> Path | None:
    """Return the file of an SQLite URL; None for a database server."""
    return Path(url.database) if url.drivername == "sqlite" and url.database else None
