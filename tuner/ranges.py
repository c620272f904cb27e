"""Ranges of parameters by name, as `--search NAME=LOW..HIGH` states them, and whose they become.

A problem takes any that its model or its training takes; see `objectives.shorthand`.
"""

import difflib
import math
from collections.abc import Container, Iterable, Mapping
from typing import Any

from objectives import ProblemError
from objectives.coefficients import takes, tell_bounds
from objectives.shorthand import read_range
from tuner.errors import ContradictionError, UsageError

# Ranges that are options, and fields of a spec, of their own.
WITH_OPTIONS = ("weight_decay", "lr")
_WORDS = {"True": True, "False": False, "None": None}
_FORMS = "write NAME=LOW..HIGH, NAME=LOW..HIGH:log, or NAME=a,b,c"


def read_ranges(texts: Iterable[str]) -> dict[str, Any]:
    """Return ranges as a problem's ``space`` states them, by name; raises UsageError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, stated = split_pair(text, "--search", found, _FORMS)
        found[name] = _read(text, stated)
        try:
            read_range(name, found[name])
        except ProblemError as error:
            raise UsageError(f"--search {text!r}: {error}") from error
    return found


def split_pair(
    text: str, option: str, found: Container[str] = (), forms: str = "write NAME=VALUE"
) -> tuple[str, str]:
    """Return the sides of ``NAME=VALUE``; UsageError for other forms, and for a name found."""
    name, _, value = (part.strip() for part in text.partition("="))
    if not (name.isidentifier() and value):
        raise UsageError(f"{option} {text!r}: {forms}")
    if name in found:
        raise UsageError(f"{option} {text!r}: {name} is given twice")
    return name, value


def take_ranges(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide a study's options into ranges by name, whatever option gave them, and the others."""
    ranges = dict(options.get("search", {}))
    for name in WITH_OPTIONS:
        if name in options and name in ranges:
            raise UsageError(f"--search {name} and --{name.replace('_', '-')}: give one of them")
        if name in options:
            ranges[name] = tuple(options[name])
    others = {n: each for n, each in options.items() if n not in (*WITH_OPTIONS, "search")}
    return ranges, others


def as_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for a built-in objective: ranges that have no field of their own apart.

    λ's field counts only where λ is asked about. Raises UsageError.
    """
    ranges, others = take_ranges(options)
    search: dict[str, Any] = {}
    for name, stated in ranges.items():
        is_plain = name in WITH_OPTIONS and isinstance(stated, tuple)
        if is_plain and (name == "lr" or options.get("strength") in (None, name)):
            others[name] = stated[:2]
        else:
            search |= as_distributions({name: stated})
    return {**others, **({"search": search} if search else {})}


def keep_ranges(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for a user's objective that nobody has looked at: all ranges as
    distributions, whichever option gave them.
    """
    ranges, others = take_ranges(options)
    return {**others, **({"search": as_distributions(ranges)} if ranges else {})}


def as_distributions(ranges: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return ranges as Optuna's distributions in JSON; raises UsageError."""
    found = {}
    for name, stated in ranges.items():
        try:
            found[name] = read_range(name, stated)
        except ProblemError as error:
            raise UsageError(f"--search {name}: {error}") from error
    return found


def check_same_ranges(study_name: str, space: Mapping[str, Any], ranges: Mapping[str, Any]) -> None:
    """Refuse ranges that contradict those of the study that they are meant to resume."""
    for name, stated in ranges.items():
        if name not in space:
            raise ContradictionError(f"Study {study_name!r} {_explain_unknown(name, space)}")
        if (asked := read_range(name, stated)) != space[name]:
            raise ContradictionError(
                f"Study {study_name!r} was created with {tell_range(name, space[name])}, not "
                f"{tell_range(name, asked)}: leave the option out to resume it, or choose another "
                "--study"
            )


def tell_range(name: str, distribution: Mapping[str, Any]) -> str:
    """Return what is searched of a parameter, in words."""
    attributes = distribution["attributes"]
    if "choices" in attributes:
        return f"{name} of {attributes['choices']}"
    scale = ", log" if attributes["log"] else ""
    return f"{name} {attributes['low']:g} to {attributes['high']:g}{scale}"


def _explain_unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    searched = ", ".join(known) or "what its objective says"
    hint = f"did you mean {near[0]!r}?" if near else f"it searches {searched}"
    return f"does not search {name!r}: {hint}"


def _read(text: str, stated: str) -> Any:
    low, dots, high = stated.partition("..")
    if not dots:
        choices = [_read_value(each.strip()) for each in stated.split(",")]
        if len(choices) == 1 or "" in choices:
            raise UsageError(f"--search {text!r}: {_FORMS}")
        return choices
    high, colon, scale = high.partition(":")
    bounds = _read_value(low.strip()), _read_value(high.strip())
    if colon and scale != "log":
        raise UsageError(f"--search {text!r}: the scale is ':log', or none")
    return (*bounds, "log") if colon else bounds


def read_values(texts: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Return the values of ``NAME=VALUE`` by name; raises UsageError."""
    pairs = [split_pair(text, option) for text in texts]
    return {name: _read_value(value) for name, value in pairs}


def read_fixed(texts: Iterable[str]) -> dict[str, Any]:
    """Return the values that all trials have; raises UsageError for one that cannot be."""
    found = read_values(texts, "--fix")
    for name, value in found.items():
        if not takes(name, value):
            raise UsageError(f"--fix {name}={value}: it takes {tell_bounds(name)}")
    return found


def _read_value(text: str) -> Any:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return _WORDS.get(text, text)
