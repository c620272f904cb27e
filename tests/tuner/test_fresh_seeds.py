"""Trials on fresh seeds are paired: the seed decides weights and batches, and nothing else does."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from torch.nn import functional

from objectives.datasets import Split, load_training_data
from objectives.seeds import derive_seed, permutation
from objectives.simplenet import SimpleNet
from storage import QueuedTrial, create_storage, set_queue
from tuner.study import LoadedStudy, create_or_resume, open_confirmation
from tuner.train import TrainRequest, replay_trial
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

# More than are trained from the first checkpoint until a worker has left.
EPOCHS, N_TRAIN, STUDY_SEED = 6, 200, 4
SPEC = {
    "dataset": "digits",
    "epochs": EPOCHS,
    "train_size": N_TRAIN,
    "seed": STUDY_SEED,
    "lr": (1e-3, 1e7),
}
SAME = {"weight_decay": 1e-3, "lr": 0.2}
OTHERS = [{"weight_decay": weight_decay, "lr": 0.3} for weight_decay in (0.0, 1e-4, 1e-2)]


def _open(folder: Path, name: str) -> LoadedStudy:
    storage = create_storage(f"sqlite:///{folder}/{name}.db")
    return open_confirmation(create_or_resume(storage, "s", SPEC))


def _queue(loaded: LoadedStudy, plan: list[tuple[int, dict[str, float]]]) -> None:
    wanted = [QueuedTrial(f"{n}", params, {"seed": seed}) for n, (seed, params) in enumerate(plan)]
    set_queue(loaded.storage.engine, loaded.study_id, wanted, "")


def _train(
    folder: Path, name: str, plan: list[tuple[int, dict[str, float]]], **settings: Any
) -> list[FrozenTrial]:
    """Train a plan of (seed, parameters) in a study of its own; return the trials in its order."""
    loaded = _open(folder, name)
    _queue(loaded, plan)
    config = WorkerConfig(loaded.storage.url, loaded.name, **settings)
    assert run_worker(config, Leaving()) == 0
    trials = loaded.study.get_trials(deepcopy=False)
    assert len(trials) == len(plan)
    return trials


def _accuracies(trial: FrozenTrial) -> list[float]:
    return [trial.intermediate_values[epoch] for epoch in range(1, EPOCHS + 1)]


def _train_by_textbook(seed: int, params: dict[str, float]) -> torch.nn.Module:
    """Train as the textbook does, with the weights and batches that the seed means."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(STUDY_SEED, "init", 1_000_000 + seed))
        model = SimpleNet(64, 10)
    split, _ = load_training_data("digits", seed=STUDY_SEED, train_size=N_TRAIN)
    images, labels = _as_tensors(split)
    optimizer = torch.optim.SGD(model.parameters(), **params)
    for epoch in range(EPOCHS):
        number = 1_000_000 + seed * EPOCHS + epoch
        order = permutation(N_TRAIN, derive_seed(STUDY_SEED, "order", number))
        for batch in torch.split(torch.from_numpy(order), 64):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            (loss * len(batch) / 64).backward()  # the last batch counts by its size
            optimizer.step()
    return model


def _as_tensors(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(split.images).float() / split.white, torch.from_numpy(split.labels)


def test_same_seed_and_hyperparameters_give_the_same_in_other_company(tmp_path: Path) -> None:
    """Alone, in a crowd, in a later gang, at another number: the same accuracies and losses."""
    alone, *_ = _train(tmp_path, "alone", [(2, SAME)], n_lanes=1)
    crowd = _train(
        tmp_path,
        "crowd",
        [(0, OTHERS[0]), (2, OTHERS[1]), (1, SAME), (2, SAME), (2, OTHERS[2])],
        n_lanes=3,
    )
    assert _accuracies(crowd[3]) == pytest.approx(_accuracies(alone), abs=1.1 / 300)
    losses = alone.user_attrs["training_loss"]
    assert crowd[3].user_attrs["training_loss"] == pytest.approx(losses, rel=1e-4)
    assert crowd[2].user_attrs["training_loss"] != pytest.approx(losses, rel=1e-3)  # another seed
    firsts = [trial.user_attrs["first_pass"] for trial in crowd]
    seeds = [trial.user_attrs["seed"] for trial in crowd]
    assert firsts == [1_000_000 + seed * EPOCHS for seed in seeds]


def test_trial_on_a_fresh_seed_is_what_plain_torch_trains(tmp_path: Path) -> None:
    """Weights, order of batches, penalty: nothing but the seed's number enters."""
    params = {"weight_decay": 0.01, "lr": 0.2}
    trial, *_ = _train(tmp_path, "s", [(7, params), (7, OTHERS[0])], n_lanes=2)
    model = _train_by_textbook(7, params)
    split, validation = load_training_data("digits", seed=STUDY_SEED, train_size=N_TRAIN)

    def accuracy(split: Split) -> float:
        images, labels = _as_tensors(split)
        return float((model(images).argmax(1) == labels).double().mean())

    assert trial.value == pytest.approx(accuracy(validation), abs=1.1 / 300)
    assert trial.user_attrs["training_value"] == pytest.approx(accuracy(split), abs=1.1 / 200)
    squares = sum(float(each.detach().square().sum()) for each in model.parameters())
    assert trial.user_attrs["weight_norm"] == pytest.approx(math.sqrt(squares), rel=1e-4)
    assert len(trial.user_attrs["training_loss"]) == EPOCHS


def test_trial_on_a_fresh_seed_replays_to_the_same_accuracies(tmp_path: Path) -> None:
    """`tuner train --study NAME/confirm --trial N` is the trial."""
    _train(tmp_path, "s", [(1, SAME), (3, OTHERS[2])], n_lanes=2)
    loaded = _open(tmp_path, "s")
    request = TrainRequest(Path("data"), "cpu", n_threads=1)
    replayed = list(replay_trial(loaded, 1, request))
    assert len(replayed) == EPOCHS
    for result, recorded in replayed:
        assert result.value == pytest.approx(recorded, abs=1.1 / 300)


def test_trial_that_diverges_ends_early_and_leaves_its_gang_alone(tmp_path: Path) -> None:
    """It is PRUNED with `diverged`; the others are what they are without it."""
    wild = {"weight_decay": 1e-2, "lr": 1e6}
    diverged, beside = _train(tmp_path, "wild", [(0, wild), (0, SAME)], n_lanes=2)
    alone, *_ = _train(tmp_path, "alone", [(0, SAME)], n_lanes=1)
    assert diverged.state is TrialState.PRUNED
    assert diverged.user_attrs["diverged"] is True
    assert beside.value == pytest.approx(alone.value, abs=1.1 / 300)


def test_rerun_goes_on_from_its_checkpoint_in_its_own_passes(tmp_path: Path) -> None:
    """A trial that was left in the middle joins the passes that it has not seen."""
    plan = [(1, SAME), (0, OTHERS[1]), (1, OTHERS[2])]
    whole = _train(tmp_path, "whole", plan, n_lanes=3)
    loaded = _open(tmp_path, "left")
    _queue(loaded, plan)
    config = WorkerConfig(
        loaded.storage.url, loaded.name, n_lanes=3, checkpoint_dir=tmp_path / "kept"
    )

    class _LeavingInTheMiddle(Leaving):
        @property
        def reason(self) -> str | None:
            # Looked at after each epoch, the next of which waits for the coordinator's word.
            kept = any((tmp_path / "kept").glob("*/trial-[02].pt"))  # with seed 1
            return "SIGTERM" if kept else None

        leaves_process = True

    assert run_worker(config, _LeavingInTheMiddle()) == 130
    assert run_worker(config, Leaving()) == 0
    trials = loaded.study.get_trials(states=(TrialState.COMPLETE,))
    resumed = [trial.user_attrs["resumed"] for trial in trials if "resumed" in trial.user_attrs]
    assert resumed
    assert {each["trial"] for each in resumed} == {1_000_001}
    found = {(t.user_attrs["seed"], t.params["lr"], t.params["weight_decay"]): t for t in trials}
    for trial in whole:
        key = (trial.user_attrs["seed"], trial.params["lr"], trial.params["weight_decay"])
        assert _accuracies(found[key]) == pytest.approx(_accuracies(trial), abs=1.1 / 300)
