"""The test score of a problem: there is none without a test part, else it has its metric's name."""

import json
from pathlib import Path

import pytest

from tests.conftest import Cli

pytestmark = pytest.mark.slow

_PROBLEM = """
import torch
from torch import nn
from tuner import Problem

inputs = torch.randn(96, 3, generator=torch.Generator().manual_seed(0))
data = inputs, inputs[:, :1] * 2
others = inputs + 1, inputs[:, :1] * 2 + 2

def make_model():
    return nn.Linear(3, 1)

shares = Problem(make_model, data, test=0, epochs=2)
whole = Problem(make_model, data, metric="rmse", epochs=2)
parts = Problem(make_model, train=data, validation=others, epochs=2)
"""


@pytest.mark.parametrize("name", ["shares", pytest.param("parts", marks=pytest.mark.long)])
def test_study_without_a_test_part_comes_to_its_answer(
    fork: Cli, tmp_path: Path, name: str
) -> None:
    """The answer says null where a test score would be, and nobody reads what is not there."""
    (tmp_path / "mine.py").write_text(_PROBLEM)
    run = ("run", "--objective", f"mine.py:{name}", "--trials", "2", "--workers", "1", "--json")
    searched = fork(*run, "--no-confirm")
    assert searched.returncode == 0, searched.stderr
    assert json.loads(searched.stdout)["best"]["evidence"]["test_accuracy"] is None
    confirmed = fork(*run, "--seeds", "2")
    assert confirmed.returncode == 0, confirmed.stderr
    evidence = json.loads(confirmed.stdout)["best"]["evidence"]
    assert (evidence["test_accuracy"], evidence["test_n_seeds"]) == (None, 0)
    assert evidence["n_seeds"] > 0
    exported = fork("export", "--format", "torch")
    assert exported.returncode == 0, exported.stderr
    assert "weight_decay=" in exported.stdout


@pytest.mark.parametrize(
    ("name", "is_told"),
    [("whole", True), pytest.param("shares", False, marks=pytest.mark.long)],
)
def test_score_on_the_test_part_has_the_name_of_its_metric(
    fork: Cli, tmp_path: Path, name: str, *, is_told: bool
) -> None:
    """An error of 30 is no accuracy."""
    (tmp_path / "mine.py").write_text(_PROBLEM)
    searched = fork("run", "--objective", f"mine.py:{name}", "--trials", "2", "--no-confirm")
    assert searched.returncode == 0, searched.stderr
    assert ("\n  test rmse " in searched.stdout) == is_told
    assert "accuracy" not in searched.stdout
