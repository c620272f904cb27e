"""A trial that gets no better ends early: with its best epoch's value, and that epoch's model."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from objectives.alone import Beginning, train_alone
from storage import create_storage
from tests.conftest import Cli
from tuner.study import load_study
from tuner.train import find_course

EPOCHS, PATIENCE = 15, 2
_OPTIONS = (
    *("--dataset", "diabetes", "--objective", "linear", "--batch-size", "16", "--workers", "1"),
    *("--epochs", str(EPOCHS), "--patience", str(PATIENCE), "--pruner", "none"),
    *("--strength", "l1", "--proximal", "--decays", "matrices", "--search", "l1=1e-2..3"),
)


def test_trial_ends_early_with_its_best_epoch(fork: Cli, tmp_path: Path) -> None:
    """Value, model and test score are that epoch's; L1 by proximal steps leaves exact zeros."""
    run = fork("run", *_OPTIONS, "--study", "s", "--trials", "6", "--seeds", "2", "--json")
    assert run.returncode == 0, run.stderr
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    trials = [
        trial
        for name in ("s", "s/confirm")
        for trial in optuna.load_study(study_name=name, storage=url).trials
    ]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    lengths = set()
    for trial in trials:
        values = [trial.intermediate_values[e] for e in sorted(trial.intermediate_values)]
        best = values.index(max(values)) + 1
        assert (trial.value, trial.user_attrs["best_epoch"]) == (max(values), best)
        assert len(values) == min(EPOCHS, best + PATIENCE)
        lengths.add(len(values))
    assert min(lengths) < EPOCHS
    assert any(trial.user_attrs["zero_share"] > 0 for trial in trials)

    answer = json.loads((tmp_path / "best_lambda.json").read_text())
    assert answer["meaning"]["penalties"] == "l1 * sum(|w|) by proximal steps"
    loaded = load_study(create_storage(url), "s/confirm")
    config = loaded.spec.training_config(data_dir=tmp_path, device="cpu")
    scores = []
    for trial in loaded.own_trials():
        is_answer = trial.params["l1"] == pytest.approx(answer["params"]["l1"], rel=1e-4)
        if is_answer and trial.user_attrs["seed"] in (4, 5):
            course, best = find_course(trial), trial.user_attrs["best_epoch"]
            *_, last = train_alone(
                config, Beginning(course.params, course.init), course.passes[:best]
            )
            assert last.result.value == pytest.approx(trial.value, abs=1e-5)
            scores.append(last.test_value())
    assert len(scores) == 2
    assert answer["evidence"]["test_accuracy"] == pytest.approx(sum(scores) / 2, abs=1e-5)


def test_rerun_from_a_checkpoint_knows_its_best_epoch(tmp_path: Path) -> None:
    """What a checkpoint holds is what an early end needs: the state after the best epoch."""
    from tuner.workers.checkpoints import Checkpoint, Checkpoints

    kept = Checkpoints(tmp_path, "s", "hash")
    kept.save(3, Checkpoint(3, {"lr": 0.1}, [7], [0.5], [1.0], {"step": 1}, {"step": 0}))
    found = kept.find(3, {"lr": 0.1})
    assert found is not None
    assert (found.state, found.best) == ({"step": 1}, {"step": 0})
