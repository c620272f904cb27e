"""Cross-validation from the command line: `tuner run --folds K`."""

import json
from statistics import fmean, stdev
from typing import Any

import pytest

from storage import create_storage
from tests.conftest import Cli
from tuner.selection import find_confirmation
from tuner.study import LoadedStudy, load_study

SMALL = ("--dataset", "digits", "--train-size", "200", "--epochs", "2", "--folds", "3")


def _find_errors(searched: LoadedStudy, answer: Any) -> tuple[float, float]:
    """Return standard errors over seeds, and over folds, of what fresh seeds said."""
    confirmation = find_confirmation(searched)
    assert confirmation is not None
    rung = confirmation.chosen("min")
    trials = load_study(searched.storage, confirmation.study).own_trials()
    matrix = [
        trial.user_attrs["fold_values"]
        for trial in trials
        if trial.params == answer["params"] and trial.value in rung.values.values()
    ]
    assert (len(matrix), len(matrix[0])) == (2, 3)
    of_seeds = [fmean(each) for each in matrix]
    of_folds = [fmean(each) for each in zip(*matrix, strict=True)]
    return stdev(of_seeds) / 2**0.5, stdev(of_folds) / 3**0.5


def test_study_on_folds_is_searched_confirmed_and_replayed(fork: Cli, sqlite_url: str) -> None:
    """Each trial has its folds' values; their standard error is not that of seeds."""
    where = ("--storage", sqlite_url, "--study", "s")
    ran = fork("run", *where, *SMALL, "--trials", "4", "--seeds", "2", "--pruner", "none")
    assert ran.returncode == 0, ran.stderr
    loaded = load_study(create_storage(sqlite_url), "s")
    for trial in loaded.own_trials():
        by_fold = trial.user_attrs["fold_values"]
        assert len(by_fold) == 3
        assert trial.value == pytest.approx(fmean(by_fold))
    answer = json.loads(fork("export", *where, "--rule", "best").stdout)
    by_fold = loaded.get_trial(answer["provenance"]["trial"]).user_attrs["fold_values"]
    assert answer["evidence"]["n_folds"] == 3
    assert answer["evidence"]["fold_standard_error"] == pytest.approx(stdev(by_fold) / 3**0.5)
    assert answer["meaning"]["details"] == "folds=3"
    confirmed = json.loads(fork("export", *where, "--rule", "min").stdout)
    of_seeds, of_folds = _find_errors(loaded, confirmed)
    assert confirmed["evidence"]["n_seeds"] == 2
    assert confirmed["evidence"]["standard_error"] == pytest.approx(of_seeds)
    assert confirmed["evidence"]["n_folds"] == 3
    assert confirmed["evidence"]["fold_standard_error"] == pytest.approx(of_folds)
    lines = fork("export", *where, "--rule", "min", "--format", "torch").stdout
    assert f"over 2 fresh seeds, ± {of_folds:.2g} over 3 folds." in lines
    replayed = json.loads(fork("train", *where, "--trial", "1", "--json").stdout)
    assert [each["validation_accuracy"] for each in replayed] == pytest.approx(
        [each["recorded"] for each in replayed], abs=1e-4
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--folds", "1"), "--folds 1: "),
        (("--folds", "3", "--batch-size", "1300"), "--batch-size 1300: there are 933 training"),
        (("--pruner", "wilcoxon"), "--pruner wilcoxon compares folds that a function reports"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    fork: Cli, sqlite_url: str, options: tuple[str, ...], words: str
) -> None:
    """And nothing is stored."""
    result = fork("run", "--storage", sqlite_url, "--dataset", "digits", *options)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert fork("status", "--storage", sqlite_url).returncode == 1
