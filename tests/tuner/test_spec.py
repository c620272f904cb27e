"""A spec refuses what cannot work, in one line with the value and the remedy."""

from typing import Any

import pytest

from tuner.errors import UsageError
from tuner.spec import Spec, build_spec, check_same_spec


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "resnet"}, "Unknown objective 'resnet': choose simplenet"),
        ({"dataset": "cifar"}, "Unknown data set 'cifar': choose one of mnist"),
        ({"sampler": "tpo"}, "--sampler 'tpo': input should be 'tpe', 'gp'"),
        ({"pruner": "x"}, "--pruner 'x': input should be 'median'"),
        ({"weight_decay": (1e-2, 1e-5)}, "--weight-decay 0.01 1e-05: needs 0 < LOW < HIGH"),
        ({"weight_decay": (1e-3, 1e-3)}, "--weight-decay 0.001 0.001: needs"),
        ({"weight_decay": (0, 1e-2)}, "--weight-decay 0 0.01: needs"),
        ({"lr": (-1, 1)}, "--lr -1 1: needs"),
        ({"lr": (1e-3, float("inf"))}, "--lr 0.001 inf: needs"),
        ({"epochs": 0}, "--epochs 0: input should be greater than or equal to 1"),
        ({"batch_size": -5}, "--batch-size -5"),
        ({"train_size": 60_000}, "--train-size 60000: mnist has 50000 training images"),
        ({"seed": -1}, "--seed -1"),
        ({"direction": "minimize"}, "simplenet reports an accuracy"),
        ({"objective": "json:loads", "sampler": "grid"}, "needs a search space"),
        ({"objective": "json:loads", "lr": (1e-3, 1)}, "--lr has no effect on json:loads"),
    ],
    ids=str,
)
def test_spec_that_cannot_work_is_refused_in_one_line(options: dict[str, Any], said: str) -> None:
    """Each impossible option is named with its value and what to do."""
    with pytest.raises(UsageError) as raised:
        build_spec(options)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_spec_survives_storing() -> None:
    """What is read back from JSON equals what was stored, hash included."""
    spec = build_spec({"dataset": "digits", "weight_decay": (1e-4, 1e-2), "seed": 3})
    again = Spec(**spec.model_dump(mode="json"))
    assert again == spec
    assert again.hash == spec.hash


def test_resuming_with_another_value_names_both() -> None:
    """A second run with another space is refused with the old and the new value."""
    stored = build_spec({"weight_decay": (1e-5, 1e-2)})
    with pytest.raises(UsageError, match=r"weight_decay 1e-05 0.01, not 1e-05 0.1"):
        check_same_spec("s", stored, {"weight_decay": (1e-5, 1e-1)})


def test_resuming_with_the_same_values_or_none_is_fine() -> None:
    """What was not given is not compared, also where the study differs from the defaults."""
    stored = build_spec({"epochs": 3, "dataset": "digits"})
    check_same_spec("s", stored, {})
    check_same_spec("s", stored, {"epochs": 3})
