"""The answer as lines to paste into a program of torch, Keras, optax or scikit-learn.

λ was tuned for one optimizer, and lines for another would change what it means: they are refused
unless forced. Tests compare one step of each with torch's.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from objectives.facts import ALL_DECAY, MATRICES_DECAY
from tuner.answer.details import Details, find_details
from tuner.answer.document import Document
from tuner.answer.terms import Terms, find_terms, write_torch_terms
from tuner.errors import UsageError

Optimizer = Literal["sgd", "adam", "adamw"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)

# By optimizer: how it is called in answers, and how its decay acts.
_ACTS = {"sgd": ("SGD", "coupled"), "adam": ("Adam", "coupled"), "adamw": ("AdamW", "decoupled")}
_WHY_NOT = {
    "adam": "Adam divides the gradient, and with it a coupled penalty, by its own running size, so "
    "that weights no longer shrink in proportion to weight_decay",
    "adamw": "AdamW's decay is decoupled: it shrinks weights by lr * weight_decay at each step, "
    "whatever the gradient's size, at a learning rate of another scale",
}


_NOT_SGD_CLASSIFIER = (
    "SGDClassifier steps at each example, one class against the rest, and keeps what L1 a weight "
    "at 0 was spared"
)


def write_lines(
    document: Document, framework: str, optimizer: Optimizer | None = None, *, force: bool = False
) -> str:
    """Return lines for a framework, with comments that say what they stand on.

    Without an optimizer they are of the one that was tuned. Raises UsageError where they would
    change the meaning of weight_decay, or of a penalty, unless forced; then they begin with a
    warning. Raises it also where there is nothing to write.
    """
    terms, fixed = find_terms(document), _details(document).fixed
    document = {**document, **{n: v for n, v in fixed.items() if document[n] is None}}
    if document["weight_decay"] is None:
        if not (terms and terms.are_any):
            raise UsageError(
                f"--format {framework}: study {document['study']!r} has searched no weight_decay"
            )
        document = {**document, "weight_decay": 0.0}
    optimizer = optimizer or _find_tuned(document)
    problem = _find_change_of_meaning(document, framework, optimizer)
    if problem is not None and not force:
        raise UsageError(
            f"--format {framework} --optimizer {optimizer} would change what weight_decay means: "
            f"{problem}. Add --force to have the lines all the same"
        )
    if (framework, optimizer) == ("sklearn", "adamw"):
        raise UsageError("--optimizer adamw: scikit-learn has none")
    comments = _facts(document)
    if problem is not None:
        comments = [f"WARNING: weight_decay was not tuned for this: {problem}.", *comments]
    if document["lr"] is None:
        comments = [*comments, "The learning rate was not searched: add yours."]
    lines = [f"# {_one_line(comment)}" for comment in comments]
    return "\n".join([*lines, *FRAMEWORKS[framework](document, optimizer)]) + "\n"


def _find_tuned(document: Document) -> Optimizer:
    """Return the optimizer that was tuned, if there are lines for it."""
    names: dict[str | None, Optimizer] = {"Adam": "adam", "AdamW": "adamw"}
    return names.get(document["meaning"]["optimizer"], "sgd")


def _find_change_of_meaning(document: Document, framework: str, optimizer: Optimizer) -> str | None:
    """Return why weight_decay, or a penalty, would not mean the same there; None if it does."""
    meaning = document["meaning"]
    if meaning["optimizer"] is None:
        return f"objective {meaning['objective']} keeps to itself what it does with weight_decay"
    if (reason := _find_other_step(document, optimizer)) is not None:
        return reason
    if is_linear_regression(document) and framework == "sklearn":
        return None
    return _find_more(document, framework, optimizer)


def _find_other_step(document: Document, optimizer: Optimizer) -> str | None:
    """Return how the tuned step differs from this optimizer's; None if it does not."""
    meaning, tuned = document["meaning"], _find_tuned(document)
    if optimizer != tuned:
        how = ", where it is a part of the gradient; " if tuned == "sgd" else ""
        return f"it was tuned with {meaning['optimizer']}{how}{_WHY_NOT[optimizer] if how else ''}"
    expected = {"decay": _ACTS[optimizer][1], "loss_reduction": "mean over the batch"}
    for name, written_for in expected.items():
        if meaning[name] != written_for:
            return f"its {name.replace('_', ' ')} is {meaning[name]}, not {written_for}"
    return None


def _find_more(document: Document, framework: str, optimizer: Optimizer) -> str | None:
    """Return what else was tuned that a framework's lines do not say; None if nothing."""
    meaning, terms, details = document["meaning"], find_terms(document), _details(document)
    decayed = (ALL_DECAY, MATRICES_DECAY) if framework in ("torch", "sklearn") else (ALL_DECAY,)
    if framework == "sklearn" and terms and terms.are_any and _is_linear(meaning):
        return f"it was tuned with more than that: {meaning['penalties']}; {_NOT_SGD_CLASSIFIER}"
    if terms is None or (terms.are_any and framework != "torch"):
        return f"it was tuned with more than that: {meaning['penalties']}"
    if details.has_own_batches or not (framework == "torch" or details.are_plain):
        chosen = "" if details.are_plain else f"betas={details.betas}"
        return f"it was tuned with more than that: {meaning['details'] or chosen}"
    if meaning["decayed_parameters"] not in decayed:
        return f"its decayed parameters are {meaning['decayed_parameters']}, not {ALL_DECAY}"
    if optimizer != "sgd" and framework in ("keras", "sklearn"):
        return f"{framework}'s {meaning['optimizer']} divides by moments in another way"
    return None


def _facts(document: Document) -> list[str]:
    """Return what a reader of the lines has to know."""
    meaning, evidence, pinned = document["meaning"], document["evidence"], document["pinned"]
    version = document["provenance"]["version"]
    number = "" if version is None else f", version {version}"
    facts = [f"λ of study {document['study']}, rule {document['rule']}{number}, by lambda-tuner."]
    if pinned is not None:
        why = "" if pinned["reason"] is None else f": {pinned['reason']}"
        facts.append(
            f"Pinned to trial {pinned['trial']} by {pinned['by']}, in place of the rule{why}"
        )
    if evidence["mean"] is not None:
        error = evidence["standard_error"]
        width = "" if error is None else f" ± {error:.2g}"
        seeds = f"over {evidence['n_seeds']} fresh seeds"
        of_folds = evidence["fold_standard_error"]
        folds = "" if of_folds is None else f", ± {of_folds:.2g} over {evidence['n_folds']} folds"
        facts.append(f"{evidence['metric']} {evidence['mean']:.5g}{width} {seeds}{folds}.")
    elif evidence["search_value"] is not None:
        facts.append(
            f"{evidence['metric']} {evidence['search_value']:.5g} in the search; not confirmed."
        )
    if evidence["verdict"] is not None:
        facts.append(evidence["verdict"]["text"])
    if meaning["optimizer"] is not None:
        facts.append(
            f"Tuned for {meaning['model']}; {meaning['loss']}, {meaning['loss_reduction']}; "
            f"batches of {meaning['batch_size']}, {meaning['epochs']} epochs."
        )
    return facts


def _one_line(text: str) -> str:
    """Return text without line breaks of any kind, for a comment that ends with its line."""
    return " ".join(text.split())


def _lr(name: str, document: Document) -> str:
    return "" if document["lr"] is None else f"{name}={document['lr']!r}, "


def _details(document: Document) -> Details:
    return find_details(document["meaning"].get("details"), document["params"])


def _momentum(document: Document) -> float:
    return document["meaning"]["momentum"] or 0.0


def _torch(document: Document, optimizer: Optimizer) -> list[str]:
    details = _details(document)
    if optimizer == "sgd":
        nesterov = ", nesterov=True" if details.nesterov else ""
        more = f"momentum={_momentum(document)!r}{nesterov}, "
    else:
        more = "" if details.betas == Details.betas else f"betas={details.betas}, "
    made = f"optimizer = torch.optim.{_ACTS[optimizer][0]}("
    own = f"{_lr('lr', document)}{more}"
    decay, terms = f"weight_decay={document['weight_decay']!r}", find_terms(document) or Terms()
    are_matrices = document["meaning"]["decayed_parameters"] == MATRICES_DECAY
    lines = [
        *_torch_batches(document["meaning"]),
        f"# {'Matrices' if are_matrices else 'All weights and biases'} of `model` decay.",
        *("import torch", ""),
    ]
    if are_matrices:
        lines += [
            "decayed = [p for p in model.parameters() if p.dim() > 1]",
            "others = [p for p in model.parameters() if p.dim() <= 1]",
            *(made, '    [{"params": decayed}, {"params": others, "weight_decay": 0.0}],'),
            *(f"    {own}{decay},", ")"),
        ]
    else:
        lines += ["decayed = list(model.parameters())"] if terms.are_any else []
        lines += [made, f"    model.parameters(), {own}{decay}", ")"]
    return [*lines, *_torch_steps(details, document), *write_torch_terms(terms)]


_SCHEDULES = {
    "cosine": ["CosineAnnealingLR(optimizer, n_steps)"],
    "onecycle": [
        "OneCycleLR(",
        '    optimizer, optimizer.param_groups[0]["lr"], total_steps=n_steps, cycle_momentum=False',
        ")",
    ],
}


def _torch_steps(details: Details, document: Document) -> list[str]:
    """Return what is done at each step besides the optimizer's: the schedule, and clipping."""
    lines = []
    if details.schedule in _SCHEDULES:
        first, *rest = _SCHEDULES[details.schedule]
        lines += [
            *("", "# `batches` is the DataLoader; scheduler.step() is for after each step."),
            f"n_steps = {document['meaning']['epochs']} * len(batches)",
            *(f"scheduler = torch.optim.lr_scheduler.{first}", *rest),
        ]
    if details.clip_norm is not None:
        clip = f"torch.nn.utils.clip_grad_norm_(model.parameters(), {details.clip_norm!r})"
        lines += ["", "", "def clip():  # to be called before each step", f"    {clip}"]
    return lines


def _torch_batches(meaning: Mapping[str, Any]) -> list[str]:
    size, fate = meaning["batch_size"], meaning["last_batch"]
    if fate == "scale":
        return [f"# The loss of a smaller last batch was multiplied by its size / {size}."]
    own = f"batch_size={size}, shuffle=True, drop_last={fate == 'drop'}"
    return [f"# Trained by DataLoader(dataset, {own})."]


def _keras(document: Document, optimizer: Optimizer) -> list[str]:
    lr, weight_decay = _lr("learning_rate", document), document["weight_decay"]
    if optimizer == "adamw":
        return [
            "import keras",
            "",
            f"optimizer = keras.optimizers.AdamW({lr}weight_decay={weight_decay!r})",
        ]
    name, momentum = {
        "sgd": ("SGD", f"momentum={_momentum(document)!r}"),
        "adam": ("Adam", ""),
    }[optimizer]
    return [
        "# keras.regularizers.L2(x) adds x * sum(w ** 2) to the loss: x is weight_decay / 2.",
        "# All weights and biases decay, so give `decay` to each layer: Dense(128, **decay).",
        "import keras",
        "",
        f"weight_decay = {weight_decay!r}",
        "decay = {",
        '    "kernel_regularizer": keras.regularizers.L2(weight_decay / 2),',
        '    "bias_regularizer": keras.regularizers.L2(weight_decay / 2),',
        "}",
        f"optimizer = keras.optimizers.{name}({(lr + momentum).removesuffix(', ')})",
    ]


def _optax(document: Document, optimizer: Optimizer) -> list[str]:
    lr, weight_decay = document["lr"], document["weight_decay"]
    if optimizer == "adamw":
        made = f"optax.adamw({_lr('learning_rate', document)}weight_decay={weight_decay!r})"
        return ["import optax", "", f"optimizer = {made}"]
    momentum = _momentum(document)
    more = f", momentum={momentum!r}" if optimizer == "sgd" and momentum else ""
    return [
        "# The decay is added to the gradient before the learning rate; all parameters decay.",
        "import optax",
        "",
        "optimizer = optax.chain(",
        f"    optax.add_decayed_weights({weight_decay!r}),",
        f"    optax.{optimizer}({'learning_rate' if lr is None else repr(lr)}{more}),",
        ")",
    ]


def is_linear_regression(document: Document) -> bool:
    """Tell whether an answer is of what ``sklearn.linear_model.ElasticNet`` solves."""
    meaning = document["meaning"]
    return (
        _is_linear(meaning)
        and meaning["loss"] == "mean squared error"
        and meaning["decayed_parameters"] == MATRICES_DECAY
        and find_terms(document) is not None
    )


def _is_linear(meaning: Mapping[str, Any]) -> bool:
    first, _, rest = (meaning["model"] or "").partition(")")
    return first.startswith("Linear(") and "," not in rest


def _elastic_net(document: Document) -> list[str]:
    """Return scikit-learn's own solver: its loss is half the mean squared error."""
    terms = find_terms(document) or Terms()
    of_squares = 2 * (terms.l2 + terms.l2_apart) + document["weight_decay"]
    total = terms.l1 + of_squares
    if not total:
        return [
            "from sklearn.linear_model import LinearRegression",
            "",
            "model = LinearRegression()",
        ]
    return [
        "# What gradient steps come near, solved: on inputs and targets of the same scale.",
        "from sklearn.linear_model import ElasticNet",
        "",
        f"model = ElasticNet(alpha={total / 2!r}, l1_ratio={terms.l1 / total!r})",
    ]


def _sklearn(document: Document, optimizer: Optimizer) -> list[str]:
    meaning = document["meaning"]
    if is_linear_regression(document):
        return _elastic_net(document)
    batch_size, epochs = meaning["batch_size"] or 200, meaning["epochs"]  # 200: its own default
    arguments = [f'solver="{optimizer}"']
    hidden = re.findall(r"Linear\(\w+, (\d+)\)", meaning["model"] or "")
    if _is_linear(meaning):
        arguments.insert(0, "hidden_layer_sizes=()")
    elif hidden:
        arguments.insert(0, f"hidden_layer_sizes=({', '.join(hidden)},)")
    arguments.append(f"alpha={document['weight_decay']!r} * {batch_size}")
    arguments.append(f"batch_size={batch_size}")
    if document["lr"] is not None:
        arguments.append(f"learning_rate_init={document['lr']!r}")
    if optimizer == "sgd":
        arguments += [f"momentum={_momentum(document)!r}", "nesterovs_momentum=False"]
    if epochs is not None:
        arguments += [f"max_iter={epochs}", f"n_iter_no_change={epochs}"]
    intercepts = (
        "" if meaning["decayed_parameters"] == MATRICES_DECAY else "its intercepts do not decay; "
    )
    return [
        "# scikit-learn divides alpha by the number of samples in the batch: alpha is",
        f"# weight_decay * batch_size. What cannot be carried over: {intercepts}of two classes",
        "# it has one output, the difference of two here, whose weights take half the step;",
        "# and the last batch of an epoch, where it is smaller, decays more.",
        "from sklearn.neural_network import MLPClassifier",
        "",
        "model = MLPClassifier(",
        *(f"    {argument}," for argument in arguments),
        ")",
    ]


FRAMEWORKS: dict[str, Callable[[Document, Optimizer], list[str]]] = {
    "torch": _torch,
    "keras": _keras,
    "optax": _optax,
    "sklearn": _sklearn,
}
