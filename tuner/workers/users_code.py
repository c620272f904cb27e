"""Where the code of users meets ours: names of modules, and whatever is raised."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator

from tuner.workers import channel
from tuner.workers.messages import Outcome

_LONGEST_ERROR = 1000


@contextlib.contextmanager
def forget_our_names(folder: str) -> Iterator[None]:
    """Let the user's modules be imported where they are called as ours are.

    What is ours has been imported by now and stays with those that use it.
    """
    from tuner import Metric, Problem, tune  # noqa: F401 (a user's module may ask for them)

    for name in ("tuner", "storage", "objectives"):
        is_theirs = any(
            os.path.exists(os.path.join(folder, candidate))
            for candidate in (f"{name}.py", os.path.join(name, "__init__.py"))
        )
        if is_theirs and not _is_ours(folder):
            for module in [m for m in sys.modules if m.partition(".")[0] == name]:
                channel.replaced[module] = sys.modules.pop(module)
    yield


def _is_ours(folder: str) -> bool:
    """Tell whether a folder is that of our own packages: nobody's names collide there."""
    return os.path.samefile(folder, os.path.join(os.path.dirname(__file__), "..", ".."))


def failed(error: BaseException) -> Outcome:
    """Return the end of a trial whose code has raised something."""
    text = show(error, str)
    return Outcome(
        "FAIL",
        error=f"{type(error).__name__}: {text}",
        error_kinds=[kind.__name__ for kind in type(error).__mro__],
        traceback="".join(traceback.format_exception(error))[-20_000:].rstrip(),
    )


def show(value: object, as_text: Callable[[object], str]) -> str:
    """Return what a user's object says of itself, if it can."""
    try:
        return as_text(value)[:_LONGEST_ERROR]
    except BaseException:  # noqa: BLE001 (it is the user's, and may leave the program)
        return f"a {type(value).__name__}"
