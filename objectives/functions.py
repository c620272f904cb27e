"""Load anybody's existing Optuna objective, named as ``package.module:function``."""

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from objectives.errors import UnknownNameError

if TYPE_CHECKING:
    import optuna

ObjectiveFunction = Callable[["optuna.Trial"], float]


def load_function(path: str) -> ObjectiveFunction:
    """Import ``package.module:function``, also from the current directory, as ``python -m`` does.

    Raises UnknownNameError when there is no such module or function. What the module itself
    raises at import passes through: it is the user's code that has to be mended.
    """
    if re.fullmatch(r"\w+(\.\w+)*:\w+", path) is None:
        raise UnknownNameError(f"Objective {path!r} is not written as package.module:function")
    module_name, _, attribute = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for our results
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UnknownNameError(f"Objective {path!r}: there is no module {error.name!r}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise UnknownNameError(
            f"Objective {path!r}: module {module_name!r} has no function {attribute!r}"
        )
    found: ObjectiveFunction = function
    return found
