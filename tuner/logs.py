"""Set up logging for a process: everything goes to stderr, stdout is for results.

As lines for people or, for programs, as JSON: one object a line, whoever wrote it.
"""

import contextlib
import io
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tuner.plain import make_output_plain, visible
from tuner.strict_json import to_json

LOG_FORMATS = ("text", "json")

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_PACKAGES = ("tuner", "objectives", "storage")
# What is printed on stderr, not logged: by us for people, by an objective, by Python itself.
_printed = logging.getLogger("stderr")
# What is printed without an end is logged in parts.
_LONGEST_LINE = 16_384
# What this process is about: `study` and `worker`, as far as it is known.
_about: dict[str, str] = {}


def set_up_logging(level: int, log_format: str = "text") -> None:
    """Log our packages at ``level`` and everybody else's warnings, one line each."""
    make_output_plain()
    stream = sys.stderr.real if isinstance(sys.stderr, _LoggedStream) else sys.stderr
    logging.basicConfig(
        stream=stream,
        level=logging.WARNING,
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_VisibleFormatter(_FORMAT, "%H:%M:%S"))
    set_level(level)
    # Optuna sets its own root logger up when it is imported, which is later; not those below it.
    for module in ("samplers", "storages", "study", "trial"):
        logging.getLogger(f"optuna.{module}").setLevel(logging.WARNING)
    if log_format == "json":
        _log_json(stream)


def set_level(level: int) -> None:
    """Log our packages at this level from now on."""
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(level)


@contextlib.contextmanager
def about(**names: str) -> Iterator[None]:
    """Let all that this process logs as JSON meanwhile say what it is about: study and worker."""
    before = dict(_about)
    _about.update(names)
    try:
        yield
    finally:
        _about.clear()
        _about.update(before)


def is_json() -> bool:
    """Tell whether this process logs as JSON."""
    return isinstance(sys.stderr, _LoggedStream)


def say_end(message: str, level: int = logging.ERROR) -> None:
    """Tell on stderr why the command ends, in one line."""
    if is_json():
        logging.getLogger("tuner").log(level, message)
    else:
        sys.stderr.write(f"tuner: {visible(message)}\n")


def _log_json(stream: Any) -> None:
    import optuna

    for handler in logging.getLogger().handlers:
        handler.setFormatter(_JsonFormatter())
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    _printed.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # it would print on stderr, which logs
    sys.stderr = _LoggedStream(stream)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    logging.getLogger("tuner").critical("%s", error, exc_info=(kind, error, traceback))


_TRACEBACK = "Traceback (most recent call last):"


class _VisibleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # A trainer's error comes as text, its traceback after the message.
        message, of_trainer, traceback = record.getMessage().partition(f"\n{_TRACEBACK}")
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            **_about,
        }
        if (trial := getattr(record, "trial", None)) is not None:
            line["trial"] = trial
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        elif of_trainer:
            line["exception"] = _TRACEBACK + traceback
        return to_json(line, indent=None)


class _LoggedStream(io.TextIOBase):
    """In the place of stderr: logs each line that is printed there."""

    def __init__(self, real: Any) -> None:
        super().__init__()
        self.real = real
        self._begun = threading.local()  # by each thread: a line is printed in parts

    def write(self, text: str) -> int:
        *lines, begun = (getattr(self._begun, "line", "") + text).split("\n")
        # A progress bar writes over its line for hours, as on a terminal.
        begun = begun[begun.rfind("\r", 0, -1) + 1 :]
        if len(begun) > _LONGEST_LINE:
            lines, begun = [*lines, begun], ""
        self._begun.line = begun
        for line in lines:
            if shown := line.rstrip().rpartition("\r")[2]:
                _printed.info("%s", shown)
        return len(text)

    def fileno(self) -> int:
        return int(self.real.fileno())
