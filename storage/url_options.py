"""What the options of a storage URL mean, whoever printed it: cloud vendors and other clients.

Each is written as our drivers take it, left out where it is about another client's own affairs, or
refused by name. What comes out comes out the same when it is read again.
"""

import re
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy.engine import URL

from storage.errors import BadUrlError

Query = Mapping[str, Any]

# As names are compared: `ssl-mode`, `sslMode` and `ssl_mode` are one.
_PUNCTUATION = re.compile(r"[-_.]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Another client's pool, waits, statements and encoding. Ours are our own: statements are not
# prepared behind a pooler, text is UTF-8, times are UTC.
_OTHERS_AFFAIRS = _words(
    """
    pgbouncer supa connectionlimit connectiontimeout connecttimeout sockettimeout timeout
    pooltimeout poolsize pool poolmode poolrecycle poolpreping poolmaxconns maxoverflow maxpoolsize
    minpoolsize maxconnections keepalive tcpkeepalive reconnect autoreconnect
    statementcachesize preparedstatementcachesize statementcachecapacity statementcachemode
    preparethreshold preparedstatements preparedstatementcachequeries defaultqueryexecmode
    binaryparameters prefersimpleprotocol cacheprepstmts useserverprepstmts prepstmtcachesize
    rewritebatchedstatements interpolateparams multistatements allowmultiqueries usecursorfetch
    encoding charset collation characterencoding connectioncollation useunicode
    servertimezone connectiontimezone timezone loc parsetime zerodatetimebehavior
    allowpublickeyretrieval allownativepasswords checksamethread
    """
)

# From none to all, by libpq's names.
_LEVELS = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_DISABLE, _, _PREFER, _REQUIRE, _VERIFY_CA, _VERIFY_FULL = range(len(_LEVELS))
_LEVEL_WORDS = {
    **{_PUNCTUATION.sub("", name): level for level, name in enumerate(_LEVELS)},
    "disabled": _DISABLE,
    "preferred": _PREFER,
    "required": _REQUIRE,
    # MariaDB's, Go's and Prisma's words for: encrypt, and look no closer.
    **dict.fromkeys(["trust", "skipverify", "acceptinvalidcerts"], _REQUIRE),
    **dict.fromkeys(["strict", "verifyidentity"], _VERIFY_FULL),
}
# By which names it is asked for, and what a plain yes and no mean there; None is nothing.
_LEVEL_NAMES: dict[str, tuple[int, int | None]] = {
    "sslmode": (_REQUIRE, _DISABLE),
    "ssl": (_REQUIRE, _DISABLE),  # as libpq reads it
    "sslaccept": (_VERIFY_FULL, _REQUIRE),
    "usessl": (_REQUIRE, _DISABLE),
    "requiressl": (_REQUIRE, None),
    "tls": (_VERIFY_FULL, _DISABLE),  # Go's
    "verifyservercertificate": (_VERIFY_CA, None),
    "sslverifycert": (_VERIFY_CA, None),
    "sslverifyidentity": (_VERIFY_FULL, None),
    "sslcheckhostname": (_VERIFY_FULL, _REQUIRE),
    "ssldisabled": (_DISABLE, None),
}
_YES, _NO = ("true", "1", "on", "yes"), ("false", "0", "off", "no")

# By the name that is compared: as libpq, and as SQLAlchemy for PyMySQL call it.
_POSTGRES_FILES = {"sslca": "sslrootcert", "sslrootcert": "sslrootcert", "sslcert": "sslcert",
                   "sslkey": "sslkey"}  # fmt: skip
_MYSQL_FILES = {"sslca": "ssl_ca", "sslrootcert": "ssl_ca", "sslcapath": "ssl_capath",
                "sslcert": "ssl_cert", "sslkey": "ssl_key", "sslcipher": "ssl_cipher"}  # fmt: skip

_USER_OPTIONS = {"user": "username", "username": "username", "password": "password",
                 "passwd": "password"}  # fmt: skip
_SCHEMA_NAMES = ("schema", "currentschema", "searchpath", "schemasearchpath")
# Of PyMySQL's options those that text can give.
_MYSQL_OPTIONS = {
    _PUNCTUATION.sub("", name): name
    for name in _words(
        "unix_socket host read_timeout write_timeout local_infile init_command sql_mode"
        " bind_address read_default_file read_default_group program_name"
    )
} | {"socket": "unix_socket"}


def translate_options(url: URL) -> URL:
    """Return the URL with its options as our drivers take them; raises BadUrlError."""
    url = _with_user(url)
    ours = {n: v for n, v in url.query.items() if _plain(n) not in _OTHERS_AFFAIRS}
    translate = {"postgresql": _for_postgres, "mysql": _for_mysql, "sqlite": _for_sqlite}
    return url.set(query=translate[url.get_backend_name()](ours))


def _plain(name: str) -> str:
    return _PUNCTUATION.sub("", name).lower()


def _with_user(url: URL) -> URL:
    """Move user and password, which JDBC has among the options, to where others have them."""
    query = dict(url.query)
    for option, part in _USER_OPTIONS.items():
        if getattr(url, part) is None and isinstance(value := query.get(option), str):
            del query[option]
            url = url.set(**{part: value})  # type: ignore[arg-type]
    return url.set(query=query)


def _for_postgres(options: Query) -> Query:
    found: dict[str, Any] = {}
    for name, value in options.items():
        plain = _plain(name)
        if plain in _POSTGRES_FILES:
            found[_POSTGRES_FILES[plain]] = value
        elif plain in _SCHEMA_NAMES:
            found |= _search_path(name, str(value), options)
        elif plain not in _LEVEL_NAMES:
            if name not in _libpq_options():
                raise _refusal(name, "PostgreSQL")
            found.setdefault(name, value)
    if (level := _find_level(options)) is not None:
        found["sslmode"] = _LEVELS[level]
    return found


def _search_path(name: str, schema: str, options: Query) -> dict[str, Any]:
    if schema == "public":  # the default
        return {}
    if not re.fullmatch(r"\w+", schema) or "options" in options:
        raise BadUrlError(
            f"The storage URL's {name} names more than one schema, or stands beside options: "
            "write all of it as options=-csearch_path=SCHEMA"
        )
    return {"options": f"-csearch_path={schema}"}


@cache
def _libpq_options() -> frozenset[str]:
    from psycopg import pq

    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def _for_mysql(options: Query) -> Query:
    found: dict[str, Any] = {}
    for name, value in options.items():
        plain = _plain(name)
        if plain in _MYSQL_FILES:
            found[_MYSQL_FILES[plain]] = value
        elif plain not in _LEVEL_NAMES:
            if plain not in _MYSQL_OPTIONS:
                raise _refusal(name, "MySQL")
            found[_MYSQL_OPTIONS[plain]] = value
    level = _find_level(options)
    if level is None:
        return found
    return _with_mysql_level(found, level)


def _with_mysql_level(found: Query, level: int) -> Query:
    """Return the options with this level as SQLAlchemy takes it: PyMySQL refuses a server that
    offers no TLS where there is any option about it, and prefers TLS where there is none.
    """
    if level == _DISABLE:
        return {n: v for n, v in found.items() if not n.startswith("ssl")} | {
            "ssl_disabled": "true"
        }
    if level < _REQUIRE:
        return found
    has_authority = not {"ssl_ca", "ssl_capath"}.isdisjoint(found)
    if level >= _VERIFY_CA and (not has_authority or found.get("ssl_ca") == "system"):
        found = {**found, **_system_authorities()}
    return found if level == _VERIFY_FULL else {**found, "ssl_check_hostname": "false"}


def _system_authorities() -> Query:
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return {"ssl_ca": paths.cafile}
    if paths.capath:
        return {"ssl_capath": paths.capath}
    raise BadUrlError(
        "The storage URL demands a server's certificate to be verified, and this machine has no "
        "list of authorities: name a file by ssl_ca=FILE"
    )


def _for_sqlite(options: Query) -> Query:
    for name in options:
        raise _refusal(name, "SQLite")
    return {}


def _refusal(name: str, database: str) -> BadUrlError:
    return BadUrlError(
        f"The storage URL has an option {name!r}, which means nothing for {database} here: "
        "leave it out"
    )


def _find_level(options: Query) -> int | None:
    """Return the strictest level that is asked for; None if none is."""
    levels = [
        _read_level(name, str(value))
        for name, value in options.items()
        if _plain(name) in _LEVEL_NAMES
    ]
    return max((level for level in levels if level is not None), default=None)


def _read_level(name: str, value: str) -> int | None:
    yes, no = _LEVEL_NAMES[_plain(name)]
    word = _plain(value)
    if '"rejectUnauthorized"' in value:  # PlanetScale's, for Node
        word = "true" if ":true" in "".join(value.split()) else "require"
        yes = _VERIFY_FULL
    if word in _YES:
        return yes
    if word in _NO:
        return no
    if word not in _LEVEL_WORDS:
        levels = ", ".join(_LEVELS)
        raise BadUrlError(f"The storage URL's {name} is {value!r}: write one of {levels}")
    return _LEVEL_WORDS[word]
