"""A spec refuses what cannot work, in one line with the value and the remedy."""

from typing import Any

import pytest

from tuner.errors import UsageError
from tuner.spec import Spec, build_new_spec, build_spec, check_same_spec


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "resnet"}, "Unknown objective 'resnet': choose simplenet"),
        ({"dataset": "cifar"}, "Unknown data set 'cifar': did you mean cifar10?"),
        ({"dataset": "imagenet"}, "Unknown data set 'imagenet': choose one of mnist"),
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
        ({"objective": "cnm"}, "Unknown objective 'cnm': did you mean cnn?"),
        (
            {"objective": "cnn", "dataset": "wine"},
            "--objective cnn: it reads images, and --dataset",
        ),
        ({"search": {"dropuot": (0.0, 0.5)}}, "did you mean 'dropout'"),
        ({"search": {"width": (8, 64)}, "objective": "linear"}, "which the model does not take"),
        ({"search": {"batch_size": (8, 60_000)}}, "batch_size=60000: there are 50000 training"),
        ({"search": {"l1": (1e-4, 1e-2)}, "fixed": {"l1": 0.1}}, "l1 is fixed and searched"),
        ({"fixed": {"weight_decay": 0.1}}, "weight_decay is the strength that is asked about"),
        ({"fixed": {"l1": -0.1}}, "fixed: l1=-0.1: it takes 0 or more"),
        ({"proximal": True}, "there is no L1 to take the step of: add l1 or alpha"),
        ({"optimizer": "sdg"}, "--optimizer 'sdg': input should be 'sgd', 'adam' or 'adamw'"),
        ({"optimizer": "adamw", "decay": "coupled"}, "choose optimizer='adam'"),
        ({"patience": 0}, "--patience 0"),
        ({"clip_norm": 0.0}, "--clip-norm 0.0"),
        ({"label_noise": 1.0}, "--label-noise 1.0"),
        ({"label_noise": 0.1, "dataset": "diabetes"}, "diabetes has numbers, not classes"),
        ({"search": {"label_smoothing": (0.0, 0.2)}, "dataset": "diabetes"}, "are numbers"),
        ({"objective": "json:loads", "optimizer": "adam"}, "--optimizer has no effect on"),
        ({"validation": 0.2}, "--validation has no effect on simplenet: its data set comes in"),
        ({"objective": "json:loads", "fixed": {"l1": 0.1}}, "--fix has no effect on"),
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


def test_batch_larger_than_the_data_is_refused() -> None:
    """A study of before keeps it; a new one is told how many examples there are."""
    options = {"train_size": 50}
    assert build_spec(options).batch_size == 64
    with pytest.raises(UsageError, match="--batch-size 64: there are 50 training examples"):
        build_new_spec(options)


def test_spec_without_what_is_new_is_stored_as_before() -> None:
    """Older workers read it, and its hash, the name of its checkpoints, is the same."""
    assert Spec().model_dump(mode="json").keys() == {
        *("objective", "dataset", "train_size", "batch_size", "epochs", "weight_decay", "lr"),
        *("sampler", "pruner", "seed", "direction", "grid"),
    }


def test_built_in_problem_searches_what_is_asked_about() -> None:
    """λ's own range counts where λ is asked about; another strength has a range of its own."""
    plain = build_spec({"objective": "cnn", "dataset": "digits"}).facts
    assert list(plain.space or {}) == ["weight_decay", "lr"]
    options = {"strength": "l1", "proximal": True, "fixed": {"dropout": 0.2}, "search": {}}
    asked = build_spec(options)
    assert list(asked.facts.space or {}) == ["l1", "lr"]
    assert asked.facts.with_zero
    assert asked.facts.recipe is not None
    assert (asked.facts.recipe.penalties, asked.facts.recipe.details) == (
        "l1 * sum(|w|) by proximal steps",
        "dropout=0.2",
    )
    besides = build_spec({**options, "weight_decay": (1e-4, 1e-2)}).facts
    assert list(besides.space or {}) == ["l1", "lr", "weight_decay"]
    other = build_spec({"strength": "dropout", "search": {"dropout": (0.0, 0.8)}}).facts
    assert (list(other.space or {}), other.with_zero) == (["dropout", "lr"], True)
    adam = build_new_spec({"optimizer": "adam", "lr": (1e-3, 1.0)})
    assert (adam.lr, build_new_spec({"optimizer": "adamw"}).lr) == ((1e-3, 1.0), (1e-4, 0.1))
    alone = build_spec({"fixed": {"lr": 0.1}}).facts
    assert (list(alone.space or {}), alone.companion) == (["weight_decay"], None)
    table = build_spec({"objective": "linear", "dataset": "diabetes"}).facts
    assert (table.metric.name, table.metric.is_proportion) == ("validation r2", False)


def test_resuming_a_built_in_study_keeps_its_ranges() -> None:
    """Those that it has may be given again; others contradict."""
    stored = build_spec({"search": {"dropout": (0.0, 0.5), "width": [64, 128]}})
    check_same_spec("s", stored, {"search": {"dropout": (0.0, 0.5)}})
    for search, reason in (
        ({"dropout": (0.0, 0.4)}, "not dropout 0 to 0.4"),
        ({"l1": (0.1, 1.0)}, "'l1'"),
    ):
        with pytest.raises(UsageError, match=reason):
            check_same_spec("s", stored, {"search": search})


def test_spec_survives_storing() -> None:
    """What is read back from JSON equals what was stored, hash included."""
    options = {"dataset": "digits", "weight_decay": (1e-4, 1e-2), "seed": 3}
    spec = build_spec({**options, "search": {"l1": (1e-4, 1.0)}, "fixed": {"width": 64}})
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
