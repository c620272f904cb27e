"""Functions that make a problem: told from functions of a trial, and called with their options.

A factory is what is annotated to return a ``Problem``, or takes nothing by place. Where options are
given, any function is one that they leave without a missing argument, as ``def problem(width=64)``:
a function of a trial would miss its trial.
"""

import difflib
import inspect
from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from objectives.errors import UnknownNameError
from objectives.problem import Problem

_FLAG = "--objective-option"


def is_factory(found: Any, options: Mapping[str, Any]) -> bool:
    """Tell a function that makes a problem from one that takes a trial, by what it takes."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # of no function, or of one that is not Python's
        return False
    returns = signature.return_annotation
    if returns is Problem or returns in ("Problem", "tuner.Problem"):
        return True
    parameters = signature.parameters.values()
    if options:
        return not _find_missing(signature, options)
    return all(each.kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD) for each in parameters)


def check_options(path: str, factory: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that a factory does not take, and those that it misses (UnknownNameError)."""
    signature, name = inspect.signature(factory), path.rpartition(":")[-1]
    parameters = signature.parameters.values()
    taken = [each.name for each in parameters if _is_named(each)]
    if not any(each.kind == Parameter.VAR_KEYWORD for each in parameters):
        for option in options:
            if option not in taken:
                raise UnknownNameError(
                    f"Objective {path!r}: {name}() takes no option {option!r}: "
                    f"{_find_nearest(option, taken)}"
                )
    if missing := _find_missing(signature, options):
        flags = " ".join(f"{_FLAG} {each}=VALUE" for each in missing)
        raise UnknownNameError(f"Objective {path!r}: {name}() needs {flags}")


def refuse_options(path: str, found: Any) -> None:
    """Refuse options of what makes no problem: one that is made already, or a function of a trial
    (UnknownNameError).
    """
    if isinstance(found, Problem):
        what = f"is a problem already: leave {_FLAG} out, or name a function that makes one"
    else:
        what = (
            f"is a function of a trial, which takes no {_FLAG}; one that makes a problem is known "
            "by `-> Problem`"
        )
    raise UnknownNameError(f"Objective {path!r} {what}")


def _is_named(parameter: Parameter) -> bool:
    return parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def _find_missing(signature: inspect.Signature, options: Mapping[str, Any]) -> list[str]:
    """Return the arguments that have neither a default nor an option."""
    return [
        each.name
        for each in signature.parameters.values()
        if each.default is Parameter.empty
        and each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        and not (_is_named(each) and each.name in options)
    ]


def _find_nearest(option: str, taken: list[str]) -> str:
    near = difflib.get_close_matches(option, taken, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"it takes {', '.join(taken)}" if taken else f"it takes none, leave {_FLAG} out"
