"""One training step of each framework, by the exported lines, is the step of torch's lines.

All start from the same weights, take the same batch, and may differ by rounding only.
"""

import copy
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from objectives.facts import MATRICES_DECAY
from objectives.gradients import OneByOne
from objectives.group import Group, Lane
from objectives.judged import Judged
from objectives.problem import Problem
from objectives.telling import tell_recipe
from tests import servers
from tests.tuner.answers import confirm, make_study
from tuner.answer.document import Document, build_document
from tuner.answer.export import check_form
from tuner.answer.frameworks import FRAMEWORKS, write_lines
from tuner.errors import UsageError

pytestmark = pytest.mark.xdist_group("frameworks")

N, N_INPUTS, N_HIDDEN, N_CLASSES = 64, 6, 5, 3  # N: one batch, as long as the study's
LR, WEIGHT_DECAY = 0.1, 0.01

Weights = list[np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """Return an answer with λ large enough to be seen in one step."""
    loaded = make_study(f"sqlite:///{tmp_path_factory.mktemp('study') / 'tuner.db'}")
    confirm(loaded)
    found = build_document(loaded)
    return {**found, "weight_decay": WEIGHT_DECAY, "l2_penalty": WEIGHT_DECAY / 2, "lr": LR}


@pytest.fixture(scope="module")
def batch() -> tuple[Any, Any]:
    """Return images `(64, 6)` float64 and labels `(64,)`."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, N_INPUTS)), np.arange(N) % N_CLASSES


@pytest.fixture
def model() -> torch.nn.Sequential:
    """Return a small SimpleNet in double precision, its weights of size 1."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(N_INPUTS, N_HIDDEN), torch.nn.ReLU(), torch.nn.Linear(N_HIDDEN, N_CLASSES)
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-1, 1)
    return net


def _weights(model: torch.nn.Module) -> Weights:
    """Return kernels as `(inputs, outputs)`, and biases, in layer order."""
    return [p.detach().numpy().T.copy() for p in model.parameters()]


def _gradients(model: torch.nn.Sequential, batch: tuple[Any, Any]) -> Weights:
    images, labels = map(torch.as_tensor, batch)
    model.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    return [p.grad.numpy().T.copy() for p in model.parameters()]  # type: ignore[union-attr]


def _run(lines: str, **given: Any) -> dict[str, Any]:
    exec(compile(lines, "exported", "exec"), given)
    return given


def _torch_step(document: Document, model: torch.nn.Sequential, batch: tuple[Any, Any]) -> Weights:
    optimizer = _run(write_lines(document, "torch"), model=model)["optimizer"]
    _gradients(model, batch)
    optimizer.step()
    return _weights(model)


def test_torch_lines_make_the_step_of_the_formula(
    document: Document, model: torch.nn.Sequential, batch: tuple[Any, Any]
) -> None:
    """w - lr * (gradient + weight_decay * w), for weights and biases alike."""
    before, gradients = _weights(model), _gradients(model, batch)
    after = _torch_step(document, model, batch)
    for w, g, stepped in zip(before, gradients, after, strict=True):
        np.testing.assert_allclose(stepped, w - LR * (g + WEIGHT_DECAY * w), rtol=1e-12)


def test_sklearn_lines_make_torchs_step_but_for_intercepts(
    document: Document, model: torch.nn.Sequential, batch: tuple[Any, Any]
) -> None:
    """alpha is divided by the batch's samples; intercepts do not decay, as the comment says."""
    before, gradients = _weights(model), _gradients(model, batch)
    lines = write_lines(document, "sklearn")
    assert "its intercepts do not decay" in lines
    theirs = _run(lines)["model"]
    assert theirs.hidden_layer_sizes == (128,)
    theirs.set_params(hidden_layer_sizes=(N_HIDDEN,)).partial_fit(*batch, classes=range(N_CLASSES))
    for values, w in zip((*theirs.coefs_, *theirs.intercepts_), _by_kind(before), strict=True):
        values[...] = w
    theirs.partial_fit(*batch)
    stepped = _by_kind(_torch_step(document, model, batch))
    n = len(theirs.coefs_)
    for values, w in zip(theirs.coefs_, stepped[:n], strict=True):
        np.testing.assert_allclose(values, w, rtol=1e-10)
    for values, w, g in zip(
        theirs.intercepts_, _by_kind(before)[n:], _by_kind(gradients)[n:], strict=True
    ):
        np.testing.assert_allclose(values, w - LR * g, rtol=1e-10)


def test_sklearn_lines_of_a_linear_classifier_make_torchs_step(
    document: Document, batch: tuple[Any, Any]
) -> None:
    """It is a perceptron without a hidden layer; intercepts do not decay, as was tuned."""
    torch.manual_seed(0)
    model = torch.nn.Linear(N_INPUTS, N_CLASSES).double()
    linear = {"model": "Linear(inputs, classes)", "decayed_parameters": MATRICES_DECAY}
    found = {**document, "meaning": {**document["meaning"], **linear}}
    lines = write_lines(found, "sklearn")
    assert "intercepts do not decay" not in lines
    theirs = _run(lines)["model"].partial_fit(*batch, classes=range(N_CLASSES))
    theirs.coefs_[0][...], theirs.intercepts_[0][...] = _weights(model)
    theirs.partial_fit(*batch)
    decayed, rest = [model.weight], [model.bias]
    groups = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=LR, weight_decay=WEIGHT_DECAY)
    inputs, labels = map(torch.as_tensor, batch)
    torch.nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()
    weights, bias = _weights(model)
    np.testing.assert_allclose(theirs.coefs_[0], weights, rtol=1e-10)
    np.testing.assert_allclose(theirs.intercepts_[0], bias, rtol=1e-10)


def test_sgd_classifier_is_refused_as_its_l1_takes_another_step(document: Document) -> None:
    """Example by example, two classes: with L2 it steps as we do, with L1 it does not."""
    from sklearn.linear_model import SGDClassifier

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40, 5))
    labels = (inputs[:, 0] > 0.3 * rng.normal(size=40)).astype(int)
    distances = {}
    for l1 in (0.0, 0.05):
        problem = Problem(
            lambda: torch.nn.Linear(5, 2), (inputs, labels), proximal=l1 > 0, decays="matrices"
        )
        model = Judged(torch.nn.Linear(5, 2).double(), problem)
        for each in model.parameters():
            torch.nn.init.zeros_(each)
        lane = Lane(model, {"lr": 0.1, "weight_decay": 0.1, **({"l1": l1} if l1 else {})}, 0)
        group = Group(OneByOne, problem, [lane], 40)
        for x, y in zip(torch.as_tensor(inputs), torch.as_tensor(labels), strict=True):
            group.take((x[None], y[None]))
        group.store()
        alpha = 0.1 / 2 + l1  # of the difference of two rows, at twice the rate
        theirs = SGDClassifier(
            loss="log_loss", penalty="elasticnet", alpha=alpha, l1_ratio=l1 / alpha, eta0=0.2,
            learning_rate="constant", shuffle=False, max_iter=1, tol=None,
        ).fit(inputs, labels)  # fmt: skip
        (zero, one), _ = (each.detach().numpy() for each in model.parameters())
        distances[l1] = np.abs(one - zero - theirs.coef_[0]).max()
    assert distances[0.0] < 1e-12
    assert distances[0.05] > 0.01
    elastic = {
        "model": "Linear(inputs, classes)",
        "penalties": "l1 * sum(|w|) by proximal steps",
        "decayed_parameters": MATRICES_DECAY,
    }
    found = {
        **document,
        "meaning": {**document["meaning"], **elastic},
        "params": {**document["params"], "l1": 0.05},
    }
    with pytest.raises(UsageError, match="SGDClassifier steps at each example"):
        write_lines(found, "sklearn")


_PENALISED: list[tuple[dict[str, Any], dict[str, float]]] = [
    ({}, {"l1": 0.3}),
    ({"decays": "matrices"}, {"l1": 0.3, "weight_decay": 0.1}),
    ({"proximal": True, "decays": "matrices"}, {"l1": 0.3, "l2_penalty": 0.2}),
    ({"proximal": True}, {"alpha": 0.9, "l1_ratio": 0.4, "weight_decay": 0.1}),
    ({"fixed": {"l1_ratio": 0.3}}, {"alpha": 0.9}),
    ({"optimizer": "adamw", "decays": "matrices"}, {"weight_decay": 0.4, "l1": 0.2}),
    ({"optimizer": "adam"}, {"weight_decay": 0.4}),
]


@pytest.mark.parametrize(("fields", "weights"), _PENALISED)
def test_torch_lines_make_the_step_of_the_lanes(
    document: Document,
    model: torch.nn.Sequential,
    batch: tuple[Any, Any],
    fields: dict[str, Any],
    weights: dict[str, float],
) -> None:
    """Penalties in the loss or by proximal steps, of matrices or all, with the tuned optimizer."""
    problem = Problem(lambda: model, batch, **fields)
    recipe = tell_recipe(problem, weights, "theirs", "a network")
    meaning = {**document["meaning"], **asdict(recipe)}
    theirs = {
        **document,
        "meaning": meaning,
        "params": {**weights, "lr": LR},
        "weight_decay": weights.get("weight_decay"),
    }
    given = tuple(map(torch.as_tensor, batch))
    params = {**problem.fixed, **weights, "lr": LR}
    lane = Lane(Judged(copy.deepcopy(model), problem), params, 0)
    group = Group(OneByOne, problem, [lane], 1)
    group.take(given)
    group.store()
    made = _run(write_lines(theirs, "torch"), model=model)
    loss = torch.nn.functional.cross_entropy(model(given[0]), given[1])
    (loss + made["penalty"]() if "penalty" in made else loss).backward()
    made["optimizer"].step()
    if "shrink" in made:
        made["shrink"]()
    for expected, found in zip(lane.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(UsageError, match=r"would change what"):
        write_lines(theirs, "keras")


_SCHEDULED: list[tuple[dict[str, Any], dict[str, float]]] = [
    ({"schedule": "cosine", "momentum": 0.9, "nesterov": True}, {}),
    ({"schedule": "onecycle", "clip_norm": 0.01, "decays": "matrices"}, {}),
    ({"schedule": "onecycle", "optimizer": "adamw", "patience": 3}, {"beta1": 0.7}),
    ({"optimizer": "adam", "betas": (0.8, 0.95), "clip_norm": 0.5}, {"momentum": 0.3}),
    ({"fixed": {"lr": 0.03, "beta2": 0.9}, "optimizer": "adam"}, {}),
    ({"fixed": {"weight_decay": 0.2}, "folds": 3}, {"l1": 0.1}),
]


@pytest.mark.parametrize(("fields", "chosen"), _SCHEDULED)
def test_torch_lines_train_as_the_lanes_do(
    document: Document,
    model: torch.nn.Sequential,
    batch: tuple[Any, Any],
    fields: dict[str, Any],
    chosen: dict[str, float],
) -> None:
    """Step by step: schedule, clipping, Nesterov's momentum, betas searched, given or fixed."""
    problem = Problem(lambda: model, batch, epochs=2, **fields)
    params = {"weight_decay": 0.05, "lr": LR, **chosen}
    params = {name: value for name, value in params.items() if name not in problem.fixed}
    meaning = {
        **document["meaning"],
        **asdict(tell_recipe(problem, params, "theirs", "a network")),
        **({"momentum": chosen["momentum"]} if "momentum" in chosen else {}),
        "epochs": 2,
    }
    own = {name: params.get(name) for name in ("weight_decay", "lr")}
    lines = write_lines({**document, **own, "meaning": meaning, "params": params}, "torch")
    given = tuple(map(torch.as_tensor, batch))
    lane = Lane(Judged(copy.deepcopy(model), problem), {**problem.fixed, **params}, 0)
    group = Group(OneByOne, problem, [lane], 5)
    made = _run(lines, model=model, batches=range(5))
    for step in range(10):
        group.take((given[0] + step, given[1]))
        made["optimizer"].zero_grad()
        loss = torch.nn.functional.cross_entropy(model(given[0] + step), given[1])
        (loss + made["penalty"]() if "penalty" in made else loss).backward()
        for name in ("clip", "optimizer", "scheduler"):
            if name in made:
                made[name]() if name == "clip" else made[name].step()
    group.store()
    for expected, found in zip(lane.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    with pytest.raises(UsageError, match=r"would change what"):
        write_lines({**document, **own, "meaning": meaning, "params": params}, "optax")


def test_sklearn_solves_what_steps_on_a_linear_regression_come_to(document: Document) -> None:
    """Its elastic net has the weights that our own proximal steps end at."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(80, 5))
    targets = inputs @ np.array([2.0, -1.0, 0.5, 0.0, 0.0]) + rng.normal(size=80)
    problem = Problem(
        lambda: torch.nn.Linear(5, 1), (inputs, targets), proximal=True, decays="matrices"
    )
    weights = {"alpha": 0.8, "l1_ratio": 0.7, "l2_penalty": 0.1, "weight_decay": 0.2}
    torch.manual_seed(0)
    model = Judged(torch.nn.Linear(5, 1).double(), problem)
    lane = Lane(model, {**weights, "lr": 0.05}, 0)
    group = Group(OneByOne, problem, [lane], 1)
    for _ in range(3_000):
        group.take((torch.as_tensor(inputs), torch.as_tensor(targets)))
    group.store()
    recipe = tell_recipe(problem, weights, "linear", "Linear(5, 1)", "mean squared error")
    meaning = {**document["meaning"], **asdict(recipe)}
    found = {**document, "meaning": meaning, "params": weights, "weight_decay": 0.2}
    theirs = _run(write_lines(found, "sklearn"))["model"].fit(inputs, targets)
    ours = next(model.parameters()).detach().numpy()[0]
    np.testing.assert_allclose(ours, theirs.coef_, atol=1e-3)
    assert list(ours == 0) == list(theirs.coef_ == 0)


def _by_kind(weights: Weights) -> Weights:
    """Return kernels first, then biases, as scikit-learn has them."""
    return weights[::2] + weights[1::2]


def _import(name: str) -> Any:
    """Import a framework that only the tests need; skip, or fail where it is required."""
    if importlib.util.find_spec(name) is None:
        servers.skip_or_fail("frameworks", f"no {name}: pip install '.[test]'")
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Import Keras on torch, with its settings in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield _import("keras")


def test_keras_lines_make_torchs_step(
    document: Document, model: torch.nn.Sequential, batch: tuple[Any, Any], keras: Any
) -> None:
    """L2(weight_decay / 2) on kernels and biases is weight_decay * w in the gradient."""
    made = _run(write_lines(document, "keras"))
    layers = [
        keras.layers.Dense(N_HIDDEN, activation="relu", dtype="float64", **made["decay"]),
        keras.layers.Dense(N_CLASSES, dtype="float64", **made["decay"]),
    ]
    theirs = keras.Sequential([keras.Input((N_INPUTS,), dtype="float64"), *layers])
    theirs.set_weights(_weights(model))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(optimizer=made["optimizer"], loss=loss)
    theirs.train_on_batch(*batch)
    stepped = _torch_step(document, model, batch)
    ours = [variable.value.detach().numpy() for variable in theirs.weights]
    for values, w in zip(ours, stepped, strict=True):
        np.testing.assert_allclose(values, w, rtol=1e-6, atol=1e-7)  # Keras' loss is float32


def test_optax_lines_make_torchs_step(
    document: Document, model: torch.nn.Sequential, batch: tuple[Any, Any]
) -> None:
    """The decay comes before the learning rate, so a step shrinks weights by lr * weight_decay."""
    optax = _import("optax")
    before, gradients = _weights(model), _gradients(model, batch)
    optimizer = _run(write_lines(document, "optax"))["optimizer"]
    updates, _ = optimizer.update(gradients, optimizer.init(before), before)
    stepped = _torch_step(document, model, batch)
    for values, w in zip(optax.apply_updates(before, updates), stepped, strict=True):
        np.testing.assert_allclose(np.asarray(values), w, rtol=1e-5, atol=1e-6)  # in float32


def test_tolerances_are_small_beside_what_the_decay_does() -> None:
    """A step without the decay, or with twice as much, would fail the tests above."""
    assert LR * WEIGHT_DECAY / 2 > 10 * 1e-5


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_form_that_changes_the_meaning_is_refused_with_the_way_out(
    document: Document, framework: str, optimizer: Any
) -> None:
    """A coupled λ is not handed to AdamW, nor to Adam, as if it meant the same."""
    with pytest.raises(UsageError, match=r"would change what weight_decay means.*--force"):
        write_lines(document, framework, optimizer)


@pytest.mark.parametrize(
    ("framework", "optimizer", "expected"),
    [
        ("torch", "adamw", "torch.optim.AdamW("),
        ("torch", "adam", "torch.optim.Adam("),
        ("keras", "adamw", "keras.optimizers.AdamW(learning_rate=0.1, weight_decay=0.01)"),
        ("keras", "adam", "keras.optimizers.Adam(learning_rate=0.1)"),
        ("optax", "adamw", "optax.adamw(learning_rate=0.1, weight_decay=0.01)"),
        ("optax", "adam", "optax.adam(0.1),"),
        ("sklearn", "adam", 'solver="adam"'),
    ],
)
def test_forced_lines_begin_with_a_warning(
    document: Document, framework: str, optimizer: Any, expected: str
) -> None:
    """Who forces it gets lines that are valid Python, and are marked for the next reader."""
    lines = write_lines(document, framework, optimizer, force=True)
    assert lines.startswith("# WARNING: weight_decay was not tuned for this: ")
    assert expected in lines
    compile(lines, "exported", "exec")


def test_sklearn_has_no_adamw_even_by_force(document: Document) -> None:
    """What is not there cannot be forced."""
    with pytest.raises(UsageError, match="scikit-learn has none"):
        write_lines(document, "sklearn", "adamw", force=True)


def test_forced_adamw_of_torch_runs(document: Document, model: torch.nn.Sequential) -> None:
    """The line is one that torch takes."""
    lines = write_lines(document, "torch", "adamw", force=True)
    group = _run(lines, model=model)["optimizer"].param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (LR, WEIGHT_DECAY)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_lines_say_what_they_stand_on(document: Document, framework: str) -> None:
    """Study, rule, error, verdict, and the hand that overrode the rule; λ = 0 is written too."""
    pinned = {"trial": 2, "reason": "x\nimport os\u2028y", "by": "a@b"}
    lines = write_lines({**document, "weight_decay": 0.0, "pinned": pinned}, framework)
    assert "# λ of study s's, rule 1se, by lambda-tuner." in lines
    assert "# validation accuracy 0.9615 ± 0.0008 over 5 fresh seeds." in lines
    assert "# λ does not matter here." in lines
    assert "# Pinned to trial 2 by a@b, in place of the rule: x import os y" in lines
    assert "0.0" in lines


def test_lines_for_a_function_are_refused_since_its_meaning_is_not_known(
    document: Document,
) -> None:
    """What a function does with its weight_decay only its author knows."""
    meaning = {**dict.fromkeys(document["meaning"]), "objective": "theirs:f"}
    theirs = {**document, "meaning": meaning, "lr": None}
    with pytest.raises(UsageError, match="theirs:f keeps to itself"):
        write_lines(theirs, "torch")
    for framework in FRAMEWORKS:
        lines = write_lines(theirs, framework, force=True)
        assert "The learning rate was not searched" in lines
        compile(lines, "exported", "exec")


def test_lines_without_a_weight_decay_are_refused(document: Document) -> None:
    """There is nothing to write, by force neither."""
    with pytest.raises(UsageError, match="has searched no weight_decay"):
        write_lines({**document, "weight_decay": None}, "torch", force=True)


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        (("xml", None, False), "Unknown format 'xml'"),
        (("json", "adamw", False), "--optimizer adamw is for --format torch"),
        (("toml", None, True), "--force is for --format torch"),
        (("torch", "lion", False), "Unknown optimizer 'lion'"),
    ],
)
def test_form_that_does_not_exist_is_refused(
    form: tuple[str, str | None, bool], problem: str
) -> None:
    """Bad input is one line, before anything is read."""
    name, optimizer, force = form
    with pytest.raises(UsageError, match=problem):
        check_form(name, optimizer, force=force)
