"""The errors of this package.

StorageError
├── BadUrlError        the storage URL cannot be used as written: wrong usage
├── CopyError          a copy cannot be made or put back as asked: name another file, stop workers
├── UnreachableError   the database does not answer, or refuses us: check it, try again
│   └── ReplacedError  its file was removed or replaced: what is open leads nowhere
├── EmptyStorageError  the database is there but holds no study yet: create one
├── SchemaError        its tables belong to another version of ours or Optuna's: upgrade
├── RolledBackError    it is at an earlier moment than what we know of it: begin anew
└── AccountError       no such user or token, or the name is taken: name another
"""


class StorageError(Exception):
    """Base of everything this package raises on purpose; messages never hold a password."""


class BadUrlError(StorageError):
    """The URL cannot be parsed, or names a database or driver that is not supported."""


class UnreachableError(StorageError):
    """The database cannot be reached, opened or written, or refuses the user.

    ``has_been_waited_for`` tells that it has been tried for as long as is worth it.
    """

    def __init__(self, message: str, *, has_been_waited_for: bool = False) -> None:
        super().__init__(message)
        self.has_been_waited_for = has_been_waited_for


class ReplacedError(UnreachableError):
    """The file of an SQLite database is not the one that was opened: it was removed, or replaced.

    What is written now is lost, so nobody waits for it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, has_been_waited_for=True)


class CopyError(StorageError):
    """A copy of a database cannot be made, or put in its place."""


class EmptyStorageError(StorageError):
    """The database has no tables of Optuna's yet."""


class SchemaError(StorageError):
    """The tables were made by a version of this program, or of Optuna, that is not read here."""


class RolledBackError(StorageError):
    """The database has gone back: restored from a copy, or failed over to one that lagged.

    What is known of it, and what is still to be written, is of a time that has not been.
    """


class AccountError(StorageError):
    """There is no such user or token, or there is one of this name already."""
