"""`docs/your-problem.md`, block by block: `tuner check` and `tuner.tune` as a stranger has them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, clean_environment

_PAGE = (ROOT / "docs/your-problem.md").read_text()
_BLOCKS = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)
_FILES = {
    found[1]: block for block in _BLOCKS if (found := re.match(r"# (\w+)\.py\n", block)) is not None
}
_PROBLEMS = [name for name, block in _FILES.items() if "Problem" in block]


@pytest.mark.parametrize("name", _PROBLEMS)
def test_problem_of_the_page_can_be_tuned(name: str, fork: Cli, tmp_path: Path) -> None:
    """`tuner check` finds nothing wrong with it, and says what it is."""
    (tmp_path / f"{name}.py").write_text(_FILES[name])
    result = fork("check", "--objective", f"{name}.py:problem", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["description"]["facts"]["data"]["n_train"] > 0
    assert found["n_parameters"] > 0
    assert not list(tmp_path.glob("*.db"))


def test_check_tells_people(fork: Cli, tmp_path: Path) -> None:
    """A line each on what decides about a study, and one on each fault."""
    (tmp_path / "churn.py").write_text(_FILES["churn"])
    result = fork("check", "--objective", "churn:problem", "--epochs", "7")
    topics = [line.split("  ")[0] for line in result.stdout.splitlines()]
    expected = ["model", "parameters", "data", "metric", "searched", "program", "memory a trial"]
    assert topics == [*expected, "last batch", "clock", "study"]
    assert "you train 7" in result.stdout
    assert "2,114, of which 2,114 decay" in result.stdout
    (tmp_path / "bad.py").write_text(_FILES["churn"].replace("scale(features)", "features[:9]"))
    for command in ("check", "run"):
        result = fork(command, "--objective", "bad:problem")
        assert result.returncode == 2
        assert result.stderr.strip() == (
            "tuner: data: its tensors have 9 and 569 examples: give as many targets as inputs"
        )
    assert not list(tmp_path.glob("*.db"))


def test_options_of_the_page_reach_the_function(fork: Cli, tmp_path: Path) -> None:
    """As the page gives them."""
    (tmp_path / "rings.py").write_text(_FILES["rings"])
    (command,) = re.findall(r"^tuner (check .*--objective-option.*)$", _PAGE, re.MULTILINE)
    lines = fork(*command.split()).stdout
    assert re.search(r"^options +n=800, activation=Tanh$", lines, re.MULTILINE)
    assert "640 train" in lines
    assert "Tanh()" in lines


def test_function_and_generator_of_the_page_are_no_problems(fork: Cli, tmp_path: Path) -> None:
    """They load, and are searched."""
    (tmp_path / "mine.py").write_text(_FILES["mine"])
    assert "is a function of a trial" in fork("check", "--objective", "mine.py:objective").stdout
    run = fork("run", "--objective", "mine.py:objective", "--trials", "3", "--no-confirm", "--json")
    assert json.loads(run.stdout)["n_finished"] == 3


def test_function_of_folds_is_pruned_where_they_are_worse_by_more_than_chance(
    fork: Cli, tmp_path: Path
) -> None:
    """By Optuna's Wilcoxon pruner: some trials end before their last fold."""
    (tmp_path / "folds.py").write_text(_FILES["folds"])
    options = ("--objective", "folds.py:objective", "--pruner", "wilcoxon", "--sampler", "random")
    run = fork("run", *options, "--trials", "12", "--study", "s", "--no-confirm", "--json")
    assert run.returncode == 0, run.stderr
    epochs = {row["epochs"] for row in json.loads(fork("trials", "--study", "s", "--json").stdout)}
    assert max(epochs) == 8
    assert min(epochs) < 8


@pytest.mark.long
def test_tune_of_the_page_gives_the_answer(fork: Cli, tmp_path: Path) -> None:
    """From a script without a guard, with a problem that no module holds; the study is like any."""
    (script,) = [block for block in _BLOCKS if "tuner.tune(" in block]
    (tmp_path / "script.py").write_text(
        script
        + "assert len(result.trials()) == 6\nassert result.confirmation is not None\n"
        + "other = tuner.tune(problem, trials=2, workers=1, confirm=False)\n"
        + "assert other.study != result.study\nassert other.figure() is not None\n"
        + "print(result)\nprint(other)\n"
    )
    ran = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    confirmed, _, other = ran.stdout.partition(
        "Confirmed on 2 fresh seeds (study notebook/confirm)"
    )
    assert "Study notebook\n  weight_decay " in confirmed
    assert "  validation accuracy  0." in other
    status = json.loads(fork("status", "--study", "notebook", "--json").stdout)
    assert status["n_finished"] == 6
    replayed = json.loads(fork("train", "--study", "notebook", "--trial", "0", "--json").stdout)
    assert replayed[-1]["validation_accuracy"] == pytest.approx(replayed[-1]["recorded"], abs=1e-3)


def test_worker_with_other_code_or_data_is_refused(fork: Cli, tmp_path: Path) -> None:
    """With both digests and the remedy; comments are free."""
    file = tmp_path / "churn.py"
    file.write_text(_FILES["churn"])
    created = fork("create", "--objective", "churn:problem", "--study", "s", "--trials", "2")
    assert created.returncode == 0, created.stderr
    for old, new, what in (
        ("64", "32", "was created with"),
        ("scale(features)", "scale(features) * 2", "was created with"),
    ):
        file.write_text(_FILES["churn"].replace(old, new))
        result = fork("worker", "--study", "s")
        assert result.returncode != 0
        assert what in result.stderr
        assert "Traceback" not in result.stderr
    file.write_text(f"# a comment\n{_FILES['churn']}")
    assert fork("worker", "--study", "s", "--workers", "1").returncode == 0
