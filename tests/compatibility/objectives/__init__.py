"""Objectives as people write them for plain Optuna; they know nothing of ours.

What an objective saw goes into attributes of its trial, so that it is compared too.
"""

from collections.abc import Callable
from typing import Any

import optuna


def note(trial: optuna.Trial, **seen: Any) -> None:
    """Keep what was seen, with its type: 1, 1.0 and True are three things."""
    for name, value in seen.items():
        trial.set_user_attr(name, f"{type(value).__name__} {value!r}")


def attempt(call: Callable[[], Any]) -> str:
    """Return what a call gave, or which error it raised, for objectives that go on after one."""
    try:
        return repr(call())
    except Exception as error:  # noqa: BLE001 (whatever it raises is what is asked)
        return f"raises {type(error).__name__}"
