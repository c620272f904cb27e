"""Why a database call failed: an outage, contention, a full disk, or for good.

By explicit tables of what drivers and SQLAlchemy say, not by the classes that they raise: Optuna
and SQLAlchemy wrap a lost connection and a wrong value alike. What to do is the caller's.
"""

import enum
import errno
import re
from collections.abc import Iterator

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from storage.errors import UnreachableError


class Cause(enum.Enum):
    """Why a database call failed; all but PERMANENT may pass by themselves."""

    OUTAGE = "outage"  # the server or the disk is away, or refuses everybody for now
    CONTENTION = "contention"  # another transaction was in the way
    FULL = "disk full"  # passes when somebody makes room
    PERMANENT = "permanent"  # wrong password, missing table, bad value, a mistake of ours

    @property
    def is_transient(self) -> bool:
        """Tell whether the same call may succeed later."""
        return self is not Cause.PERMANENT

    @property
    def complaint(self) -> str:
        """What the database does, as people are told."""
        return _COMPLAINTS[self]


_COMPLAINTS = {
    Cause.OUTAGE: "does not answer",
    Cause.CONTENTION: "is locked by others",
    Cause.FULL: "has no space left",
    Cause.PERMANENT: "failed",
}


def _by_name(names: dict[Cause, str]) -> dict[str, Cause]:
    return {name: cause for cause, text in names.items() for name in text.split()}


# PostgreSQL's SQLSTATE, by its first characters; the longest that fits counts
# (PostgreSQL's manual, "PostgreSQL Error Codes").
_POSTGRES_STATES = _by_name(
    {
        # 25006: read-only after a failover. 25P03, 25P04, 57P05: ended for idling or taking long.
        # 58000, 58030: the server's operating system or disk.
        Cause.OUTAGE: "08 25006 25P03 25P04 53000 53200 53300 57P01 57P02 57P03 57P05 58000 58030",
        # 57014: cancelled, most often by a statement_timeout that ran out behind a lock.
        Cause.CONTENTION: "40 55006 55P03 57014 72",
        Cause.FULL: "53100",
        Cause.PERMANENT: "01 02 03 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 "
        "38 39 3B 3D 3F 40002 42 44 53400 54 55 57000 57P04 58P F0 HV P0 XX",
    }
)
# At connection time psycopg has no SQLSTATE, only words; in another language than English these
# are not recognised and are waited for. Each is a refusal of this user or of these settings.
_POSTGRES_REFUSALS = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects"
    r"|(?:role|database) \".*\" does not exist|is not permitted to log in|permission denied"
    r"|is not currently accepting connections|does not support SSL|certificate verify failed"
    r"|root certificate file|invalid (?:port|connection|sslmode)|unsupported frontend protocol"
    # PgBouncer's.
    r"|no such (?:database|user)|unsupported startup parameter|database \".*\" is disabled"
    r"|(?:TLS|SSL) (?:connection )?required|not allowed in statement pooling mode"
)
# A pooler's own errors have this state, whatever they are: their words count.
_POOLERS_STATE = "08P01"
# psycopg's classes, where the error has no SQLSTATE.
_POSTGRES_CLASSES = _by_name(
    {
        Cause.OUTAGE: "OperationalError",
        Cause.PERMANENT: "DataError DatabaseError Error IntegrityError InterfaceError "
        "InternalError NotSupportedError PipelineAborted ProgrammingError Warning",
    }
)

# MySQL's and MariaDB's error numbers (their manuals, "Error Messages"; pymysql.constants).
_MYSQL_NUMBERS = _by_name(
    {
        # Away, leaving, overloaded, or read-only after a failover (1290, 1836, 1874). 1047: a
        # Galera node that is not ready. 1927, 4031: connection killed, or ended for idling.
        Cause.OUTAGE: "1030 1037 1038 1040 1041 1042 1043 1047 1053 1077 1078 1079 1080 1081 1129 "
        "1135 1152 1154 1155 1156 1157 1158 1159 1160 1161 1180 1184 1189 1190 1203 1218 1226 1290 "
        "1297 1429 1461 1836 1874 1927 3032 3168 3169 4031 "
        "2001 2002 2003 2004 2005 2006 2012 2013 2014 2027 2048 2055",
        # 1020: a row has changed since it was read. 1317, 1969, 3024: interrupted, out of time.
        Cause.CONTENTION: "1015 1020 1192 1205 1206 1213 1223 1317 1412 1637 1969 3024 3058 3572",
        Cause.FULL: "1021 1026 1114",
        Cause.PERMANENT: "1044 1045 1049 1099 1100 1130 1142 1143 1150 1153 1165 1197 1207 1208 "
        "1209 1227 1251 1275 1370 1428 1820 1862 4025 "
        "2000 2007 2008 2009 2010 2011 2015 2016 2017 2018 2019 2020 2021 2022 2023 2024 2025 "
        "2026 2028 2029 2030 2031 2032 2033 2034 2035 2036 2037 2038 2039 2040 2041 2042 2043 "
        "2044 2045 2046 2047 2049 2050 2051 2052 2053 2054 2056 2057 2058 2059 2060 2061 2062 "
        "2063 2064 2065 2066 2067 2068 2069 2070 2071 2072",
    }
)
# pymysql's classes, where the number is in no table. It says InterfaceError(0) for a connection
# that is closed, and InternalError with words for answers out of order.
_MYSQL_CLASSES = _by_name(
    {
        Cause.OUTAGE: "InterfaceError",
        Cause.PERMANENT: "DataError DatabaseError Error IntegrityError MySQLError "
        "NotSupportedError ProgrammingError Warning",
    }
)

# SQLite's result codes: an extended one where it differs, else the primary one, its low byte
# (sqlite.org/rescode.html).
_SQLITE_CODES = _by_name(
    {
        Cause.OUTAGE: "7 10",  # NOMEM, IOERR
        # BUSY, LOCKED, PROTOCOL (a race for the write-ahead log), SCHEMA; ABORT_ROLLBACK,
        # ERROR_RETRY, ERROR_SNAPSHOT.
        Cause.CONTENTION: "5 6 15 17 516 513 769",
        Cause.FULL: "13",
        # IOERR_DATA, IOERR_CORRUPTFS; ERROR, INTERNAL, PERM, ABORT, READONLY, INTERRUPT, CORRUPT,
        # NOTFOUND, CANTOPEN, EMPTY, TOOBIG to NOTADB; and no errors: OK, NOTICE to DONE.
        Cause.PERMANENT: "8202 8458 1 2 3 4 8 9 11 12 14 16 18 19 20 21 22 23 24 25 26 "
        "0 27 28 100 101",
    }
)
# sqlite3's classes, where the module itself raises them, without a code.
_SQLITE_CLASSES = _by_name(
    {
        Cause.PERMANENT: "DataError DatabaseError Error IntegrityError InterfaceError "
        "InternalError NotSupportedError OperationalError ProgrammingError Warning",
    }
)

# What is permanent, but no row's fault: tables, rights, settings. By SQLSTATE, number or code, for
# SQLite ERROR (no such table), PERM, READONLY, CORRUPT, CANTOPEN, AUTH, NOTADB.
_NOT_OF_ROWS = {
    "psycopg": re.compile("08|0A|25|28|2D|3D|3F|42|57|58|F0|XX"),
    "pymysql": re.compile(r"(1044|1045|1049|1054|1064|1142|1143|1146|1227|1370|2\d{3})$"),
    "sqlite3": re.compile("(1|3|8|11|14|23|26)$"),
}

# SQLAlchemy's classes by name, since versions differ in which there are. What wraps a driver's
# error (DBAPIError) counts only where the driver's error is in no table.
_SQLALCHEMY_CLASSES = _by_name(
    {
        # The pool ran dry while connections hung, or what a lost connection leaves behind.
        Cause.OUTAGE: "DisconnectionError InvalidatePoolError PendingRollbackError "
        "ResourceClosedError TimeoutError",
        # Those of sqlalchemy.exc, then of sqlalchemy.orm.exc.
        Cause.PERMANENT: "AmbiguousColumnError AmbiguousForeignKeysError ArgumentError "
        "AwaitRequired CircularDependencyError CompileError ConstraintColumnNotFoundError "
        "DBAPIError DataError DatabaseError DuplicateColumnError IdentifierError "
        "IllegalStateChangeError IntegrityError InterfaceError InternalError "
        "InvalidRequestError MissingGreenlet MultipleResultsFound NoDBAPILoaded "
        "NoForeignKeysError NoInspectionAvailable NoReferenceError NoReferencedColumnError "
        "NoReferencedTableError NoResultFound NoSuchColumnError NoSuchModuleError "
        "NoSuchTableError NotSupportedError ObjectNotExecutableError OperationalError "
        "ProgrammingError SQLAlchemyError StatementError UnboundExecutionError "
        "UnreflectableTableError UnsupportedCompilationError "
        "DetachedInstanceError FlushError LoaderStrategyException MappedAnnotationError "
        "ObjectDeletedError ObjectDereferencedError StaleDataError UnmappedClassError "
        "UnmappedColumnError UnmappedError UnmappedInstanceError",
    }
)

# Of the file system, when a database in a file is opened.
_OS_ERRORS = {
    **dict.fromkeys([errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE], Cause.OUTAGE),
    **dict.fromkeys([errno.ENOSPC, errno.EDQUOT], Cause.FULL),
}


def classify(error: BaseException) -> Cause:
    """Return why a call failed, looking through the wrapping of Optuna, SQLAlchemy and ours.

    What is in no table is PERMANENT: an unknown error is passed on, not waited for.
    """
    return find_cause(error) or Cause.PERMANENT


def find_cause(error: BaseException) -> Cause | None:
    """Return why a call failed; None if no table says."""
    causes = (_find_own_cause(link) for link in reversed(list(_links(error))))
    return next((cause for cause in causes if cause is not None), None)


def is_of_rows(error: BaseException) -> bool:
    """Tell whether a call may have failed for what it was to write, so that others may succeed.

    Some values a driver refuses itself, by an error of Python's own.
    """
    if classify(error) is not Cause.PERMANENT:
        return False
    *_, innermost = _links(error)
    modules = {base.__module__.partition(".")[0] for base in type(innermost).__mro__}
    driver = next((name for name in _NOT_OF_ROWS if name in modules), None)
    if driver is None:
        return isinstance(innermost, ValueError | TypeError | ArithmeticError)
    code = {
        "psycopg": getattr(innermost, "sqlstate", None),
        "pymysql": next(iter(innermost.args), None),
        "sqlite3": getattr(innermost, "sqlite_errorcode", 0) & 0xFF,
    }[driver]
    return _NOT_OF_ROWS[driver].match(str(code)) is None


def driver_message(error: BaseException) -> str:
    """Return what the driver said, in one line, without the wrapping of others."""
    *_, innermost = _links(error)
    # SQLAlchemy adds a link to its manual.
    return " ".join(str(innermost).partition("(Background on this error")[0].split())


def _links(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that it only wraps, outermost first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        if isinstance(link, StatementError) and link.orig is not None:
            link = link.orig
        elif isinstance(link, StorageInternalError | SQLAlchemyError) or (
            isinstance(link, UnreachableError) and not link.has_been_waited_for
        ):
            link = link.__cause__
        else:
            return


def _find_own_cause(error: BaseException) -> Cause | None:
    for base in type(error).__mro__:
        match base.__module__.partition(".")[0]:
            case "psycopg":
                return _find_postgres_cause(error)
            case "pymysql":
                return _find_mysql_cause(error)
            case "sqlite3":
                return _find_sqlite_cause(error)
            case "sqlalchemy":
                return _find_sqlalchemy_cause(error)
    return _OS_ERRORS.get(error.errno or 0) if isinstance(error, OSError) else None


def _find_by_class(error: BaseException, table: dict[str, Cause]) -> Cause | None:
    names = (base.__name__ for base in type(error).__mro__)
    return next((table[name] for name in names if name in table), None)


def _find_postgres_cause(error: BaseException) -> Cause | None:
    state = getattr(error, "sqlstate", None)
    if state and state != _POOLERS_STATE:
        prefixes = (state[:length] for length in range(5, 1, -1))
        return next((_POSTGRES_STATES[p] for p in prefixes if p in _POSTGRES_STATES), None)
    if _POSTGRES_REFUSALS.search(str(error)):
        return Cause.PERMANENT
    return _find_by_class(error, _POSTGRES_CLASSES)


def _find_mysql_cause(error: BaseException) -> Cause | None:
    number = error.args[0] if error.args else None
    if "CERTIFICATE_VERIFY_FAILED" in str(error):  # said as 2003: cannot connect
        return Cause.PERMANENT
    if cause := _MYSQL_NUMBERS.get(str(number)):
        return cause
    if type(error).__name__ == "InternalError" and isinstance(number, str):
        return Cause.OUTAGE
    return _find_by_class(error, _MYSQL_CLASSES)


def _find_sqlite_cause(error: BaseException) -> Cause | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE_CODES.get(str(code), _SQLITE_CODES.get(str(code & 0xFF)))
    return _find_by_class(error, _SQLITE_CLASSES)


def _find_sqlalchemy_cause(error: BaseException) -> Cause | None:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Cause.OUTAGE
    return _find_by_class(error, _SQLALCHEMY_CLASSES)
