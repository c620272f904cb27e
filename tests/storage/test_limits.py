"""What a database does not take is refused before it is queued, in a line that says why."""

import ast
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage import Limits, limits

SQLITE, POSTGRES, MYSQL = (Limits.of(name) for name in ("sqlite", "postgresql", "mysql"))


def _nested(levels: int) -> Any:
    value: Any = {}
    for level in range(levels - 1):
        value = [value, {}] if level % 2 else {"inner": value}
    return value


def _attr(key: str, value: Any = 0) -> Callable[[Limits], object]:
    return lambda limits: limits.check_attr(key, value, "user attribute")


def _param(name: str, distribution: str = "") -> Callable[[Limits], object]:
    return lambda limits: limits.check_param(name, distribution)


def _step(step: int) -> Callable[[Limits], object]:
    return lambda limits: limits.check_step(step)


@pytest.mark.parametrize(
    ("limits", "check", "words"),
    [
        (MYSQL, _attr("curve", "x" * 65_534), "user attribute 'curve' .* 65,536 .* 65,535"),
        (MYSQL, _attr("curve", "ü" * 11_000), "'curve' has 66,002 bytes"),
        (MYSQL, _param("x", "x" * 65_536), "distribution of parameter 'x' has 65,536 bytes"),
        (POSTGRES, _attr("k" * 513), r"user attribute 'kkkk.*\.\.\.' has 513 .* at most 512"),
        (MYSQL, _param("k" * 513), "parameter .* has 513 characters; MySQL/MariaDB"),
        (POSTGRES, _attr("a\0b"), r"'a\\x00b' has a NUL character, which PostgreSQL"),
        (SQLITE, _attr("a\ud800"), r"'a\\ud800' has a lone surrogate at position 1"),
        (MYSQL, _param("a\udc80"), "parameter .* lone surrogate"),
        (POSTGRES, _step(2**31), "step 2,147,483,648 is beyond 2,147,483,647"),
        (MYSQL, _step(-(2**31) - 1), "step -2,147,483,649"),
        (SQLITE, _attr("tree", _nested(101)), "'tree' is nested in more than 100 levels"),
        (SQLITE, _step(2**70), "is beyond 9,223,372,036,854,775,807, .* SQLite"),
    ],
)
def test_value_beyond_a_limit_is_refused_with_the_limit(
    limits: Limits, check: Callable[[Limits], object], words: str
) -> None:
    """One line that names what it was, how large, and what is the most."""
    with pytest.raises(ValueError, match=words) as refused:
        check(limits)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("limits", "check"),
    [
        (MYSQL, _attr("curve", "x" * 65_533)),
        (POSTGRES, _attr("curve", "x" * 1_000_000)),
        (POSTGRES, _attr("ü" * 512)),
        (SQLITE, _attr("k" * 10_000)),
        (SQLITE, _attr("a\0b")),
        (MYSQL, _attr("a\0b")),
        (POSTGRES, _attr("text", "a\0\ud800")),
        (SQLITE, _attr("tree", _nested(100))),
        (SQLITE, _attr("wide", [[]] * 1000)),
        (POSTGRES, _step(2**31 - 1)),
        (SQLITE, _step(2**63 - 1)),
    ],
)
def test_value_at_a_limit_is_taken(limits: Limits, check: Callable[[Limits], object]) -> None:
    """Nothing is refused that the database takes."""
    check(limits)


def test_attribute_that_is_no_json_is_refused_as_by_optuna() -> None:
    """By TypeError, with its name."""
    with pytest.raises(TypeError, match="attribute 'model': Object of type object is not JSON"):
        SQLITE.check_attr("model", object())


def test_limits_travel_to_processes_that_know_no_database() -> None:
    """They can be pickled, and their module needs the standard library only."""
    assert pickle.loads(pickle.dumps(MYSQL)) == MYSQL
    tree = ast.parse(Path(limits.__file__).read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module if isinstance(node, ast.ImportFrom) else n.name
             for node in nodes for n in node.names]  # fmt: skip
    assert set(names) <= sys.stdlib_module_names
