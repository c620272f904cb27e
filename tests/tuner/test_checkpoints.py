"""A rerun goes on from its last epoch, and ends as if nothing had happened."""

import logging
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from storage import create_storage
from tuner.compact import unpack_passes
from tuner.study import LoadedStudy, create_or_resume
from tuner.train import TrainRequest, replay_trial
from tuner.workers.checkpoints import Checkpoint, Checkpoints, FinalModels, find_model
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.nursery import abandoning
from tuner.workers.shutdown import Leaving

STATE = {"weight": torch.arange(3.0)}
CHECKPOINT = Checkpoint(4, {"lr": 0.1}, [2, 3], [0.5, 0.6], [1.5, 1.2], STATE)


def test_checkpoint_is_found_by_its_first_trial_and_parameters(tmp_path: Path) -> None:
    """What a deleted study of the same name has left is not mistaken for a trial's own."""
    checkpoints = Checkpoints(tmp_path, "a/b", "hash")
    checkpoints.save(1, CHECKPOINT)
    found = checkpoints.find(1, {"lr": 0.1})
    assert found is not None
    assert torch.equal(found.state["weight"], STATE["weight"])
    assert (found.trial, found.passes, found.values) == (4, [2, 3], [0.5, 0.6])
    assert checkpoints.find(1, {"lr": 0.2}) is None
    assert Checkpoints(tmp_path, "a/b", "other").find(1, {"lr": 0.1}) is None
    checkpoints.remove(1)
    assert checkpoints.find(1, {"lr": 0.1}) is None


def test_checkpoint_that_is_damaged_or_cannot_be_written_costs_no_trial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The trial begins anew, or goes on without; the log says why."""
    checkpoints = Checkpoints(tmp_path, "study", "hash")
    checkpoints.save(1, CHECKPOINT)
    (file,) = tmp_path.glob("*/trial-1.pt")
    file.write_bytes(file.read_bytes()[:100])
    assert checkpoints.find(1, {"lr": 0.1}) is None
    assert f"Could not read {file}" in caplog.text
    (tmp_path / "file").write_text("")
    Checkpoints(tmp_path / "file", "study", "hash").save(1, CHECKPOINT)
    assert "Could not write" in caplog.text


_WHOLE = vars(CHECKPOINT)
_DAMAGED: dict[str, object] = {
    "no params": {key: value for key, value in _WHOLE.items() if key != "params"},
    "a list": [1, 2],
    "one key more": {**_WHOLE, "more": 1},
    "no state": {**_WHOLE, "state": "words"},
    "strings": {**_WHOLE, "values": ["0.5", "0.6"]},
    "an epoch less": {**_WHOLE, "losses": [1.5]},
}


@pytest.mark.parametrize("content", _DAMAGED.values(), ids=_DAMAGED)
def test_checkpoint_that_loads_and_is_none_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: object
) -> None:
    """By one line; the trial begins anew."""
    checkpoints = Checkpoints(tmp_path, "study", "hash")
    checkpoints.save(1, CHECKPOINT)
    (file,) = tmp_path.glob("*/trial-1.pt")
    torch.save(content, file)
    assert checkpoints.find(1, {"lr": 0.1}) is None
    assert f"Could not read {file}, which is left out: " in caplog.text


@pytest.mark.parametrize(
    "name", ["L" * 250, "😀" * 60, "ü" * 250], ids=["letters", "emoji", "umlauts"]
)
def test_study_of_a_long_name_has_a_folder(tmp_path: Path, name: str) -> None:
    """Another one than the study whose name differs at its end."""
    checkpoints = Checkpoints(tmp_path, name, "0123456789abcdef" * 4)
    checkpoints.save(1, CHECKPOINT)
    assert checkpoints.find(1, {"lr": 0.1}) is not None
    other = Checkpoints(tmp_path, name[:-1] + "x", "0123456789abcdef" * 4)
    assert other.find(1, {"lr": 0.1}) is None
    checkpoints.remove(1)
    assert checkpoints.find(1, {"lr": 0.1}) is None


def test_checkpoint_that_cannot_be_removed_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker does not end of it."""
    checkpoints = Checkpoints(tmp_path, "study", "hash")
    checkpoints.save(1, CHECKPOINT)
    (file,) = tmp_path.glob("*/trial-1.pt")
    file.unlink()
    file.mkdir()
    checkpoints.remove(1)
    assert f"Could not remove {file}" in caplog.text


def test_best_model_keeps_the_one_that_selection_chooses(tmp_path: Path) -> None:
    """By accuracy, then fewer epochs, then the lower number; and no more than one file."""
    best = FinalModels(tmp_path, only_best=True)
    for trial, accuracy, epochs in [
        (3, 0.5, 5),
        (4, 0.7, 5),
        (5, 0.7, 5),
        (1, 0.7, 5),
        (6, 0.6, 1),
    ]:
        best.offer(trial, accuracy, epochs, STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["model-1.pt"]
    assert find_model(tmp_path, 1) is not None
    assert find_model(tmp_path, 4) is None
    assert find_model(None, 1) is None


@pytest.mark.slow
def test_rerun_whose_checkpoint_is_another_models_begins_anew(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It costs time, not the trial; its neighbours are trained."""
    url, folder = f"sqlite:///{tmp_path}/tuner.db", tmp_path / "checkpoints"
    options = {"dataset": "digits", "train_size": 200, "epochs": 400, "pruner": "none"}
    loaded = create_or_resume(create_storage(url), "L" * 240, options, n_trials=2)
    config = WorkerConfig(url, "L" * 240, checkpoint_dir=folder, n_lanes=1)
    leaving = Leaving()
    with abandoning():
        pass  # the server of a test before writes to that one's stderr

    def leave_after_some_epochs(view: LoadedStudy) -> None:
        if any(len(trial.intermediate_values) >= 6 for trial in view.study.get_trials()):
            leaving.reason = "SIGTERM"

    assert run_worker(config, leaving, leave_after_some_epochs) == 130
    (file,) = folder.glob("*/*.pt")
    content = torch.load(file)
    content["state"]["model"] = {"weight": torch.zeros(3)}
    torch.save(content, file)
    assert run_worker(config, Leaving()) == 0
    left, *done = loaded.study.get_trials()
    assert left.state is TrialState.FAIL
    assert [trial.state for trial in done] == [TrialState.COMPLETE] * 2
    assert "resumed" not in done[0].user_attrs
    assert len(done[0].intermediate_values) == 400
    assert "Trial 1 begins anew: What was kept of a model does not fit it" in capfd.readouterr().err
    assert not list(folder.glob("*/*"))


def test_trial_given_back_goes_on_from_its_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rerun reports the epochs that were done, trains the others, and can be replayed."""
    url, n_epochs = f"sqlite:///{tmp_path}/tuner.db", 400
    options = {"dataset": "digits", "train_size": 200, "epochs": n_epochs, "pruner": "none"}
    loaded = create_or_resume(create_storage(url), "s", options, n_trials=1)
    config = WorkerConfig(url, "s", checkpoint_dir=tmp_path / "checkpoints")
    leaving = Leaving()

    def leave_after_some_epochs(view: LoadedStudy) -> None:
        # The fifth epoch's model is in a file once the sixth is reported.
        if any(len(trial.intermediate_values) >= 6 for trial in view.study.get_trials()):
            leaving.reason = "SIGTERM"

    assert run_worker(config, leaving, leave_after_some_epochs) == 130
    with caplog.at_level(logging.INFO):
        assert run_worker(config, Leaving()) == 0
    left, rerun = loaded.study.get_trials()
    n_done = len(unpack_passes(rerun.user_attrs["resumed"]["passes"]))
    assert left.state is TrialState.FAIL
    assert rerun.state is TrialState.COMPLETE
    assert 5 <= n_done < n_epochs
    assert list(rerun.intermediate_values) == list(range(1, n_epochs + 1))
    assert not list(tmp_path.glob("checkpoints/*/*"))
    for result, reported in replay_trial(loaded, 1, TrainRequest(Path("data"), "cpu", 1)):
        assert reported is not None
        assert abs(result.value - reported) < 0.01  # 2 of 300 images, by rounding
