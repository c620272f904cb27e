"""Load a user's problem or function of a trial: ``package.module:name``, ``folder/file.py:name``.

To be called in a process that may be lost: importing a module runs whatever is in it.
"""

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import pickle
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from objectives.errors import ObjectiveError, UnknownNameError
from objectives.factories import check_options, is_factory, refuse_options
from objectives.problem import Problem

if TYPE_CHECKING:
    import optuna

ObjectiveFunction = Callable[["optuna.Trial"], float]

_DOTTED = re.compile(r"\w+(\.\w+)*:\w+")
_PICKLE = ".pickle"
_FILE = re.compile(r".+\.(py|pickle):\w+")


@dataclass(frozen=True)
class LoadedProblem:
    """A problem, and the file of its module."""

    problem: Problem
    file: str | None


def read_source(loaded: LoadedProblem) -> str | None:
    """Return the source of a problem's module; None of one that was made in a notebook."""
    if loaded.file is None or loaded.file.endswith(_PICKLE):
        return None
    return Path(loaded.file).read_text(encoding="utf-8")


def digest_code(source: str) -> str:
    """Return a digest of a module's syntax tree, so that comments and blanks are free."""
    return hashlib.sha256(ast.dump(ast.parse(source)).encode()).hexdigest()[:16]


def digest_module(function: ObjectiveFunction) -> str | None:
    """Return the digest of a function's module; None where that has no source to be read."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    with contextlib.suppress(OSError, SyntaxError, TypeError, ValueError):
        return digest_code(Path(getattr(module, "__file__", "")).read_text(encoding="utf-8"))
    return None


class _ScriptError(BaseException):
    """A module has begun to tune while it was imported."""


def is_users(objective: str) -> bool:
    """Tell whether an objective is in somebody's own module, or one of ours."""
    return ":" in objective


def is_written_well(path: str) -> bool:
    """Tell whether a name is one of a function: ``package.module:name`` or ``file.py:name``."""
    return bool(_DOTTED.fullmatch(path) or _FILE.fullmatch(path))


def load_problem(path: str, folder: str, options: Mapping[str, Any] | None = None) -> LoadedProblem:
    """Import a user's problem; raises as ``load_objective``."""
    found = load_objective(path, folder, options)
    if not isinstance(found, LoadedProblem):
        raise ObjectiveError(f"Objective {path!r} is a function of a trial here, and no problem")
    return found


def load_objective(
    path: str, folder: str, options: Mapping[str, Any] | None = None
) -> "LoadedProblem | ObjectiveFunction":
    """Import what a user's study trains, from ``folder`` first, as Python does for a script there.

    A ``Problem`` is a problem, and so is what a factory (see ``objectives.factories``) makes with
    the ``options``; any other function takes a trial. Raises UnknownNameError when there is no such
    module, file or function, and where options are missing, or not taken; and ObjectiveError, in
    one line, for whatever the module or factory raises, or does, while it is imported or called.
    """
    if not is_written_well(path):
        raise UnknownNameError(
            f"Objective {path!r} is not written as package.module:function or file.py:function"
        )
    where, _, attribute = path.rpartition(":")
    is_file = where.endswith(".py")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    file: str | None = where
    if where.endswith(_PICKLE):
        found = _unpickle(path, os.path.join(folder, where))
    else:
        with _explaining(path, where), contextlib.redirect_stdout(sys.stderr), _refusing_scripts():
            module = _import_file(folder, where) if is_file else importlib.import_module(where)
        found, file = getattr(module, attribute, None), module.__file__
    made = _check_kind(path, found, where, options or {})
    return LoadedProblem(made, file) if isinstance(made, Problem) else made


def _check_kind(
    path: str, found: Any, where: str, options: Mapping[str, Any]
) -> Problem | ObjectiveFunction:
    """Return what was found under a name: a problem, or the function that it is."""
    if callable(found) and is_factory(found, options):
        return _make_problem(path, found, where, options)
    if not (callable(found) or isinstance(found, Problem)):
        attribute = path.rpartition(":")[-1]
        raise UnknownNameError(f"Objective {path!r}: {where!r} has no function {attribute!r}")
    if options:
        refuse_options(path, found)
    return found  # type: ignore[no-any-return]


def _make_problem(
    path: str, factory: Callable[..., Any], where: str, options: Mapping[str, Any]
) -> Problem:
    """Return what a factory makes; raises ObjectiveError if that is no problem."""
    check_options(path, factory, options)
    call = (
        f"{path.rpartition(':')[-1]}({', '.join(f'{n}={each!r}' for n, each in options.items())})"
    )
    with _explaining(path, where, call), contextlib.redirect_stdout(sys.stderr):
        found = factory(**options)
    if not isinstance(found, Problem):
        raise ObjectiveError(
            f"Objective {path!r}: {call} takes no trial, so it makes a problem, and it returned "
            f"{type(found).__name__}; a function of a trial takes the trial"
        )
    return found


def _unpickle(path: str, file: str) -> Any:
    """Load what `tuner.tune` was given in a notebook: whatever it holds, by value."""
    with _explaining(path, file, "reading its file"), open(file, "rb") as content:
        return pickle.load(content)


def _import_file(folder: str, file: str) -> ModuleType:
    """Import a file under its own name, with its folder first on the path."""
    full = os.path.join(folder, file)
    if not os.path.isfile(full):
        raise ModuleNotFoundError(f"there is no file {full}", name=file)
    sys.path.insert(0, os.path.dirname(os.path.abspath(full)))
    name = os.path.basename(file).removesuffix(".py")
    if name in sys.modules:  # of ours, or of a library: the file has another name then
        name = f"objective_{name}"
    spec = importlib.util.spec_from_file_location(name, full)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _explaining(path: str, where: str, what: str = "importing its module") -> Iterator[None]:
    """Turn what an import, or a call, raises into one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and f"{where}.".startswith(f"{error.name}."):
            what = "file" if where.endswith(".py") else "module"
            raise UnknownNameError(
                f"Objective {path!r}: there is no {what} {error.name!r}"
            ) from error
        raise _as_one_line(path, what, error) from error
    except _ScriptError as error:
        raise ObjectiveError(
            f"Objective {path!r}: its module calls {error} while it is imported: put that under "
            '`if __name__ == "__main__":`'
        ) from error
    except SystemExit as error:
        raise ObjectiveError(
            f"Objective {path!r}: {what} ended the program "
            f"(SystemExit: {error.code}); does it parse the command line? Do that under "
            '`if __name__ == "__main__":`'
        ) from error
    except BaseException as error:
        raise _as_one_line(path, what, error) from error


def _as_one_line(path: str, what: str, error: BaseException) -> ObjectiveError:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames[1:] else ""
    reason = " ".join(str(error).split())
    return ObjectiveError(
        f"Objective {path!r}: {what} raised {type(error).__name__}: {reason}{place}"
    )


@contextlib.contextmanager
def _refusing_scripts() -> Iterator[None]:
    """Let a module that tunes while it is imported fail at once: each process would do so."""
    import optuna

    is_importing = True

    def refuse_meanwhile(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*arguments: Any, **keywords: Any) -> Any:
            if is_importing:
                raise _ScriptError(name)
            return function(*arguments, **keywords)

        return called

    owners = [(optuna, "create_study"), (optuna.study, "create_study"), (optuna.Study, "optimize")]
    before = [getattr(owner, name) for owner, name in owners]
    for (owner, name), function in zip(owners, before, strict=True):
        setattr(owner, name, refuse_meanwhile(name, function))
    try:
        yield
    finally:
        is_importing = False
        for (owner, name), function in zip(owners, before, strict=True):
            setattr(owner, name, function)
