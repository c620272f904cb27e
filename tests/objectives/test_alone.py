"""A trial trained by itself is the trial that a worker trained beside others."""

import torch

from objectives.alone import Beginning, train_alone
from objectives.base import EpochResult, TrainingConfig
from objectives.datasets import load_training_data
from objectives.facts import Params
from objectives.opening import open_training
from objectives.seeds import derive_seed
from objectives.simplenet import SimpleNet

CONFIG = TrainingConfig(objective="simplenet", dataset="digits", seed=3, device="cpu")
GOOD = {"weight_decay": 1e-4, "lr": 0.1}
OTHER = {"weight_decay": 1e-2, "lr": 0.3}


def _alone(params: Params, *, trial_number: int, first_pass: int, epochs: int) -> list[EpochResult]:
    passes = range(first_pass, first_pass + epochs)
    trained = train_alone(CONFIG, Beginning(params, trial_number), passes)
    return [each.result for each in trained]


def test_train_alone_replays_what_lanes_trained_beside_others() -> None:
    """The trial's number and first pass are all that a replay needs to know."""
    lanes = open_training(CONFIG, 3)
    lanes.add(7, GOOD)
    lanes.train_pass()
    lanes.add(8, OTHER)
    lanes.add(9, GOOD)
    found = [lanes.train_pass()[8] for _ in range(2)]
    for result, again in zip(
        found, _alone(OTHER, trial_number=8, first_pass=1, epochs=2), strict=True
    ):
        assert again.epoch == result.epoch
        assert abs(again.loss - result.loss) < 1e-4  # float32, summed in another order
        assert abs(again.value - result.value) < 1.1 / 300  # one image of 300


def test_train_alone_with_another_trial_number_or_pass_gives_other_results() -> None:
    """The trial's number decides its weights, and the pass the order of its images."""
    first, *others = (
        _alone(GOOD, trial_number=number, first_pass=first_pass, epochs=1)[0].loss
        for number, first_pass in ((0, 0), (1, 0), (0, 1))
    )
    assert first not in others


def test_train_alone_for_ten_epochs_learns_the_digits() -> None:
    """Training really trains: nine of ten images are recognised that were never trained on."""
    *_, last = train_alone(CONFIG, Beginning({"weight_decay": 1e-4, "lr": 0.3}), range(10))
    assert last.result.epoch == 10
    assert last.result.value > 0.9
    assert last.test_value() > 0.9


def test_train_alone_starts_from_the_weights_that_its_seed_names() -> None:
    """With a learning rate of zero the score is that of the model as it was built."""
    frozen = {"weight_decay": 1e-4, "lr": 0.0}
    [trained] = train_alone(CONFIG, Beginning(frozen, init=6), [0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(CONFIG.seed, "init", 6))
        model = SimpleNet(64, 10)
    _, validation = load_training_data("digits", seed=CONFIG.seed)
    guesses = model(torch.from_numpy(validation.images).float() / validation.white).argmax(1)
    n_correct = int((guesses == torch.from_numpy(validation.labels)).sum())
    assert trained.result.value == n_correct / len(validation)
