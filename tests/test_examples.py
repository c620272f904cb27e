"""Strangers' problems, end to end: searched, confirmed and exported by the command line."""

import ast
import json
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# One is run by each `make test`, the others where there is time.
_ALWAYS = "own_loss"
_CASES = [
    pytest.param(path, marks=[] if path.stem == _ALWAYS else [pytest.mark.long], id=path.stem)
    for path in EXAMPLES
]


@pytest.mark.parametrize("path", _CASES)
def test_example_is_searched_confirmed_and_exported(path: Path, tmp_path: Path, fork: Cli) -> None:
    """What is exported holds all parameters, a test value, and what is known of the problem."""
    (tmp_path / path.name).write_text(path.read_text())
    sizes = ("--trials", "4", "--epochs", "2", "--seeds", "2", "--pruner", "none")
    result = fork("run", "--objective", f"{path.name}:problem", "--study", "s", *sizes, "--json")
    assert result.returncode == 0, result.stderr
    answer = json.loads((tmp_path / "best_lambda.json").read_text())
    assert answer["evidence"]["n_seeds"] == 2
    assert answer["evidence"]["test_accuracy"] is not None
    assert answer["meaning"]["dataset"]["n_train"] > 0
    assert answer["evidence"]["strength"] in answer["params"]
    replayed = fork("train", "--study", "s", "--trial", "1", "--json")
    name = answer["evidence"]["metric"].replace(" ", "_")
    for epoch in json.loads(replayed.stdout):
        assert epoch[name] == pytest.approx(epoch["recorded"], abs=2e-3, rel=2e-3)


def test_examples_are_short_and_have_no_loop_over_epochs() -> None:
    """At most ten lines beside the model: what owns the loop is ours."""
    assert len(EXAMPLES) >= 12
    for path in EXAMPLES:
        tree = ast.parse(path.read_text())
        (problem,) = (
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name == "problem"
        )
        assert problem.end_lineno is not None
        assert problem.end_lineno - problem.lineno <= 12, path
        assert not any(isinstance(node, ast.For | ast.While) for node in ast.walk(problem)), path
