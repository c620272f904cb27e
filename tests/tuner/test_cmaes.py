"""CMA-ES goes on from the state in the database, and runs nothing that stands there."""

import pickle
from pathlib import Path
from typing import Any

import optuna
import pytest

from tuner.sampling.cmaes import SafeCmaEsSampler


def _run(sampler: optuna.samplers.BaseSampler, n_trials: int) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    study.optimize(
        lambda t: t.suggest_float("x", -1, 1) ** 2 + t.suggest_float("y", 0.1, 1, log=True),
        n_trials=n_trials,
    )
    return study


def test_cmaes_suggests_what_optunas_does() -> None:
    """Its state comes back whole, through several generations."""
    ours = _run(SafeCmaEsSampler(seed=1), 30)
    theirs = _run(optuna.samplers.CmaEsSampler(seed=1), 30)
    assert [t.params for t in ours.trials] == [t.params for t in theirs.trials]


class _Planted:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_cmaes_does_not_run_a_state_that_somebody_has_planted(tmp_path: Path) -> None:
    """Whoever can write to the database does not choose what runs on workers."""
    study = _run(SafeCmaEsSampler(seed=1), 5)
    trial = study.trials[-1]
    planted = pickle.dumps(_Planted(tmp_path / "has-run")).hex()
    study._storage.create_new_trial(
        study._study_id,
        optuna.trial.create_trial(
            value=0.0,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs={"cma:optimizer:0": planted, "cma:generation": 0},
        ),
    )
    with pytest.raises(pickle.UnpicklingError, match="is not run"):
        study.optimize(
            lambda t: t.suggest_float("x", -1, 1) + t.suggest_float("y", 0.1, 1, log=True),
            n_trials=1,
        )
    assert not (tmp_path / "has-run").exists()
