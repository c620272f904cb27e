"""Built-in models train on the data sets that they can, as the catalog says of both."""

import hashlib
import importlib
import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from objectives import DATASETS, OBJECTIVES, TrainingConfig
from objectives.builtin import add_noise, make_builtin
from objectives.datasets import load_test_data, load_training_data
from objectives.outline import outline
from objectives.problem_lanes import open_problem_lanes
from objectives.shorthand import middle
from objectives.tabular import read_scikit_learn

_TABLES = ("breast-cancer", "wine", "diabetes")
_SETS = ("digits", *_TABLES)
_PAIRS = [
    (model, data)
    for model, facts in OBJECTIVES.items()
    for data in _SETS
    if DATASETS[data].shape is not None or not facts.needs_images
]


@pytest.mark.parametrize(("model", "data"), _PAIRS)
def test_model_learns_from_data(model: str, data: str) -> None:
    """Three epochs of a middling trial are better than a guess, and the test part is scored."""
    space = outline(model, data, {}).space
    config = TrainingConfig(
        *(model, data, 0),
        batch_size=16,
        epochs=3,
        device="cpu",
        space=space,
        settings={"optimizer": "adam"},
    )
    lanes = open_problem_lanes(make_builtin(config), config, 1)
    lanes.add(0, {**middle(space or {}), "lr": 0.01})
    for _ in range(3):
        result = lanes.train_pass()[0]
    n_classes = DATASETS[data].n_classes
    guess = 1.2 / n_classes if n_classes else 0.0
    assert result.value > guess
    assert lanes.test_value(0) > guess


@pytest.mark.parametrize("model", OBJECTIVES)
def test_catalog_names_the_arguments_of_a_model(model: str) -> None:
    """Behind the data set's facts; each with a default, so that none has to be searched."""
    facts = OBJECTIVES[model]
    module, _, name = facts.where.partition(":")
    make: Any = getattr(importlib.import_module(module), name)
    _, *arguments = inspect.signature(make).parameters.values()
    assert tuple(argument.name for argument in arguments) == facts.arguments
    assert all(argument.default is not argument.empty for argument in arguments)


_SIZES: dict[str, list[dict[str, Any]]] = {
    "simplenet": [{"depth": 3, "width": 16, "dropout": 0.1, "batch_norm": True}, {"depth": 0}],
    "linear": [{}],
    "cnn": [{"channels": 4, "dropout": 0.5}],
    "rnn": [{"cell": "lstm", "width": 8, "dropout": 0.2}],
    "transformer": [{"width": 8, "depth": 2, "heads": 2, "dropout": 0.1}],
}


@pytest.mark.parametrize("model", OBJECTIVES)
def test_each_size_of_a_model_trains(model: str) -> None:
    """Whatever its arguments, a trial gives them by name."""
    config = TrainingConfig(model, "digits", 0, batch_size=100, epochs=1, device="cpu")
    for sizes in _SIZES[model]:
        search = {name: [size] for name, size in sizes.items()}
        config = replace(config, space=outline(model, "digits", {"search": search}).space)
        lanes = open_problem_lanes(make_builtin(config), config, 1)
        lanes.add(0, {"weight_decay": 0.0, "lr": 0.01, **sizes})
        lanes.train_pass()
        assert not lanes.take_failures()


@pytest.mark.parametrize("model", OBJECTIVES)
def test_model_takes_images_of_three_channels(model: str) -> None:
    """As cifar10 has them: a class of each image comes out."""
    module, _, name = OBJECTIVES[model].where.partition(":")
    made = getattr(importlib.import_module(module), name)(DATASETS["cifar10"])
    assert made(torch.rand(2, 3 * 32 * 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("model", "layer", "shape"), [("rnn", "rows", (32, 1)), ("transformer", "embed", (4, 4))]
)
def test_model_reads_a_part_of_an_image_in_all_its_channels(
    model: str, layer: str, shape: tuple[int, int]
) -> None:
    """A row, or a patch, holds the pixels of its place, and no others."""
    module, _, name = OBJECTIVES[model].where.partition(":")
    made = getattr(importlib.import_module(module), name)(DATASETS["cifar10"])
    seen: list[torch.Tensor] = []
    getattr(made, layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    places = (y // (32 // shape[0]) * shape[1] + x // (32 // shape[1])).expand(3, 32, 32)
    made(places.reshape(1, -1).float())
    by_place = seen[0].view(shape[0] * shape[1], -1)
    assert by_place.shape[1] == places.numel() / len(by_place)
    assert (by_place == torch.arange(len(by_place))[:, None]).all()


@pytest.mark.parametrize("name", _TABLES)
def test_table_is_that_of_scikit_learn_in_units_without_units(name: str) -> None:
    """All examples, each once; mean 0 and variance 1 of what is no test example."""
    import sklearn.datasets

    loaders = {
        "breast-cancer": sklearn.datasets.load_breast_cancer,
        "wine": sklearn.datasets.load_wine,
        "diabetes": lambda **own: sklearn.datasets.load_diabetes(**own, scaled=False),
    }
    inputs, targets = loaders[name](return_X_y=True)
    found = read_scikit_learn(name)
    assert np.array_equal(found[0], inputs)
    assert np.array_equal(found[1], targets)
    content = inputs.astype(np.float64).tobytes() + targets.astype(np.float64).tobytes()
    assert hashlib.sha256(content).hexdigest() == DATASETS[name].sha256
    parts = [*load_training_data(name, seed=1), load_test_data(name)]
    facts = DATASETS[name]
    assert [len(part) for part in parts] == [facts.n_train, facts.n_validation, facts.n_test]
    rest = np.concatenate([part.images for part in parts[:2]])
    assert np.allclose(rest.mean(0), 0, atol=1e-5)
    assert np.allclose(rest.std(0), 1, atol=1e-4)
    whole = np.concatenate([part.images for part in parts])
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    order = [np.lexsort(np.round(each, 2).T) for each in (whole, scaled)]
    assert len(np.unique(whole, axis=0)) == len(np.unique(scaled, axis=0))
    assert np.corrcoef(whole[order[0]][:, -1], scaled[order[1]][:, -1])[0, 1] > 0.99


def test_noise_replaces_a_share_of_the_labels_by_other_classes() -> None:
    """As many as were asked for, none by itself, by the study's seed alone."""
    labels = np.arange(1000) % 10
    noisy = add_noise(labels, 10, 0.3, seed=1)
    assert (noisy != labels).sum() == 300
    assert set(noisy.tolist()) == set(range(10))
    assert np.array_equal(noisy, add_noise(labels, 10, 0.3, seed=1))
    assert not np.array_equal(noisy, add_noise(labels, 10, 0.3, seed=2))


def test_noise_is_of_training_labels_alone() -> None:
    """What selects and what is scored in the end is as it was."""
    plain, noisy = (
        make_builtin(TrainingConfig("simplenet", "digits", 0, label_noise=share))
        for share in (0.0, 0.2)
    )
    changed = (plain.train.tree[1] != noisy.train.tree[1]).sum()
    assert changed == 220
    assert plain.validation.digest() == noisy.validation.digest()
