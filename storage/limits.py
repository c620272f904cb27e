"""What a database takes as a trial's names, attributes and steps: said before it is queued.

Imports nothing but the standard library, so that a process without a database can be handed one
and refuse the same. What only the database itself can tell is left to ``storage.refusals``.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

# Optuna's column of names (String), and what Text holds on MySQL and MariaDB.
_NAME_CHARACTERS = 512
_MYSQL_TEXT_BYTES = 65_535
_LONGEST_SHOWN = 60
# Whoever copies a trial, as Optuna does, goes no deeper than Python's limit of recursion.
_MOST_LEVELS = 100

_TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL/MariaDB"}


@dataclass(frozen=True)
class Limits:
    """The limits of a database of this dialect, as SQLAlchemy names it; None is no limit.

    Each check raises ValueError, in one line that names what was refused, its size and the limit.
    """

    dialect: str
    name_characters: int | None
    text_bytes: int | None
    step_bits: int
    takes_nul: bool

    @classmethod
    def of(cls, dialect: str) -> "Limits":
        """Return the limits of Optuna's columns on a database."""
        is_sqlite = dialect == "sqlite"  # it does not keep to a column's length
        return cls(
            dialect,
            name_characters=None if is_sqlite else _NAME_CHARACTERS,
            text_bytes=_MYSQL_TEXT_BYTES if dialect == "mysql" else None,
            step_bits=64 if is_sqlite else 32,
            takes_nul=dialect != "postgresql",
        )

    def check_attr(self, key: str, value: Any, kind: str = "attribute") -> str:
        """Return an attribute's value as the JSON that is stored.

        Raises TypeError, too, and whatever else ``json.dumps`` does, as Optuna.
        """
        self._check_name(kind, key)
        try:
            text = json.dumps(value)
        except TypeError as error:
            raise TypeError(f"{kind} {_shown(key)}: {error}") from error
        if text.count("[") + text.count("{") > _MOST_LEVELS and _is_deep(value):
            raise ValueError(
                f"{kind} {_shown(key)} is nested in more than {_MOST_LEVELS} levels, which nobody "
                "can copy: keep it in a file and its path here"
            )
        self._check_text(f"{kind} {_shown(key)}", text)
        return text

    def check_param(self, name: str, distribution_json: str = "", value: float = 0.0) -> None:
        """Check a parameter: its name, its distribution as JSON, and its internal value."""
        if self.dialect == "mysql" and not math.isfinite(value):
            raise ValueError(f"parameter {_shown(name)} is {value}, which {self._title} has not")
        self._check_name("parameter", name)
        self._check_text(f"the distribution of parameter {_shown(name)}", distribution_json)

    def check_step(self, step: int) -> None:
        """Check the step of a report."""
        highest = 2 ** (self.step_bits - 1) - 1
        if not -highest - 1 <= step <= highest:
            raise ValueError(
                f"step {step:,} is beyond {highest:,}, the highest that {self._title} takes: "
                "report in larger units"
            )

    @property
    def _title(self) -> str:
        return _TITLES.get(self.dialect, self.dialect)

    def _check_name(self, kind: str, name: object) -> None:
        if not isinstance(name, str):  # Optuna does not ask either
            return
        if self.name_characters is not None and len(name) > self.name_characters:
            raise ValueError(
                f"the name of {kind} {_shown(name)} has {len(name):,} characters; "
                f"{self._title} takes at most {self.name_characters}: shorten it"
            )
        if "\0" in name and not self.takes_nul:
            raise ValueError(
                f"the name of {kind} {_shown(name)} has a NUL character, which {self._title} does "
                "not take: leave it out"
            )
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the name of {kind} {_shown(name)} has a lone surrogate at position "
                f"{error.start}, which no database takes: leave it out"
            ) from error

    def _check_text(self, what: str, text: str) -> None:
        """Check a text of JSON, which is ASCII: a byte a character."""
        if self.text_bytes is not None and len(text) > self.text_bytes:
            raise ValueError(
                f"{what} has {len(text):,} bytes of JSON; {self._title} takes at most "
                f"{self.text_bytes:,}: keep less of it, or keep it in a file and its path here"
            )


def _is_deep(value: Any) -> bool:
    """Tell whether a value of JSON has more levels than are taken."""
    level = [[value]]
    for _ in range(_MOST_LEVELS + 1):
        found = [each for values in level for each in values]
        level = [
            list(each.values()) if isinstance(each, dict) else list(each)
            for each in found
            if isinstance(each, dict | list | tuple)
        ]
    return bool(level)


def _shown(name: str) -> str:
    """Return a name as it may stand in a message: in ASCII, in one line and not too long."""
    text = ascii(name)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 4]}...{text[-1]}"
