"""The answer of a study as frozen values: what the document ``lambda-tuner/best/1`` holds.

The one place that says so: ``document`` fills it, ``best.schema.json`` is made from it, and
``tuner.load_best`` returns it. Needs the standard library alone, for it is read in programs that
have nothing else of ours; so ``metadata`` speaks to pydantic, which makes the schema.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA: Literal["lambda-tuner/best/1"] = "lambda-tuner/best/1"

Rule = Literal["best", "min", "1se"]
LastBatch = Literal["drop", "scale", "keep"]


def _of(description: str, **constraints: Any) -> Any:
    return field(metadata={"description": description, **constraints})


def _since_0_2(default: object, description: str, **constraints: Any) -> Any:
    """Describe a fact that documents of 0.1.0 leave out, and what it is in those."""
    metadata = {"description": description, **constraints}
    return field(default=default, kw_only=True, metadata=metadata)


@dataclass(frozen=True)
class Dataset:
    """What was trained on, and how it was split."""

    name: str = _of("Name of the data set.")
    sha256: str = _of("SHA-256 of its raw files; of `kmnist` and `cifar10`, of their MD5 sums.")
    n_train: int = _of("Number of training images.", ge=1)
    n_validation: int = _of("Number of validation images, by which λ was chosen.", ge=0)
    n_test: int = _of("Number of test images.", ge=0)
    split_seed: int = _of("Seed of the split into training and validation images.")


@dataclass(frozen=True)
class Meaning:
    """What λ was tuned for; null where a function objective keeps it to itself."""

    objective: str = _of("Name of the objective, or package.module:function.")
    model: str | None = _of("The network.")
    optimizer: str | None = _of("The optimizer.")
    momentum: float | None = _of("The optimizer's momentum.")
    decay: str | None = _of(
        "coupled (a part of the gradient), decoupled (as AdamW's), cautious (that where the step "
        "shrinks, too) or corrected (by the schedule's factor)."
    )
    decay_formula: str | None = _of("How weight_decay enters a step.")
    penalty_formula: str | None = _of("The same as a penalty on the loss, with l2_penalty.")
    decayed_parameters: str | None = _of("Which parameters decay.")
    loss: str | None = _of("The loss.")
    loss_reduction: str | None = _of("How the loss of a batch comes from its images.")
    batch_size: int | None = _of("Images a step.")
    epochs: int | None = _of("Epochs of a whole training.")
    dataset: Dataset | None = _of("The data set.")
    last_batch: LastBatch | None = _since_0_2(
        None,
        "An epoch's smaller last batch: dropped, its gradient scaled to its size, or kept; null in "
        "documents that do not say, whose trainings kept it.",
    )
    penalties: str | None = _since_0_2(None, "What is added to the loss besides weight decay.")
    details: str | None = _since_0_2(None, "Schedule, clipping, what was the same for all trials.")
    objective_options: dict[str, Any] | None = _since_0_2(
        None, "What the objective's function was called with, to make the problem."
    )


@dataclass(frozen=True)
class Verdict:
    """Whether λ matters for this study."""

    kind: Literal["matters", "does not matter", "edge"] = _of("The verdict in a word.")
    text: str = _of("The verdict in a sentence.")
    suggested_range: tuple[float, float] | None = _of("At an edge, the range to search next.")


@dataclass(frozen=True)
class Clock:
    """How fast λ works: a weight that gets no gradient shrinks to 1/e in tau."""

    tau_epochs: float = _of("batch_size / (mean lr weight_decay n_train), in epochs.", gt=0)
    tau_trainings: float = _of("The same in trainings.", gt=0)
    initial_share: float = _of("Which part of the initial weights is left at the end.", ge=0)
    prior_width: float = _of("1 / sqrt(weight_decay n_train): the prior's standard deviation.")
    ridge_slope: float | None = _since_0_2(
        None,
        "Slope of log λ against log lr where both are good: 0 if λ itself matters, -1 if only lr λ "
        "does. Null where fresh seeds did not tell.",
    )
    ridge_interval: tuple[float, float] | None = _since_0_2(None, "Its 95 % interval.")
    scale_invariant: float | None = _since_0_2(
        None,
        "Share of the decaying parameters whose scale the output does not show: of those λ only "
        "sets the learning rate. Null where it was not looked for.",
        ge=0,
        le=1,
    )
    mean_factor: float = _since_0_2(
        1.0,
        "What the schedule multiplies lr by, a mean over the training: tau and what is left of the "
        "initial weights are those of lr times that.",
        gt=0,
    )


@dataclass(frozen=True)
class Evidence:
    """What was measured; accuracies are fractions in 0..1. Null is what is not known."""

    metric: str = _of("What value and mean are: validation accuracy, or an objective's value.")
    direction: Literal["maximize", "minimize"] = _of("Which way is better.")
    search_value: float | None = _of(
        "What the search measured of its best trial, or of the pinned one: one lucky draw."
    )
    mean: float | None = _of("Mean of the exported configuration over fresh seeds.")
    standard_error: float | None = _of("Standard error of that mean.", ge=0)
    n_seeds: int = _of("Number of fresh seeds; 0 where it was not confirmed.", ge=0)
    optimism: float | None = _of(
        "The best trial's value in the search minus what fresh seeds say of its configuration: a "
        "surface through them, or in older answers their mean."
    )
    test_accuracy: float | None = _of("Accuracy on the test set, a mean over test_n_seeds.")
    test_standard_error: float | None = _of("Standard error of the test accuracy.", ge=0)
    test_n_seeds: int = _since_0_2(0, "Number of models scored on the test set.", ge=0)
    range: tuple[float, float] | None = _of(
        "The range of weight_decay that was searched; null if it was not one of numbers."
    )
    edge: Literal["low", "high"] | None = _of("At which end of that range weight_decay lies.")
    verdict: Verdict | None = _of("Whether λ matters, by fresh seeds.")
    strength: str = _since_0_2("weight_decay", "The parameter that was asked about, λ.")
    companion: str | None = _since_0_2(None, "The one that was chosen anew with it.")
    companion_range: tuple[float, float] | None = _since_0_2(
        None, "Where fresh seeds looked for the companion; null where they did not."
    )
    companion_edge: Literal["low", "high"] | None = _since_0_2(
        None, "At which end of that range the companion lies."
    )
    clock: Clock | None = _since_0_2(None, "How fast λ works; null where it is not known, or λ 0.")
    n_folds: int = _since_0_2(
        0,
        "Folds that mean is over, by every seed; of a trial of the search, that search_value is "
        "over. 0 without.",
        ge=0,
    )
    fold_standard_error: float | None = _since_0_2(
        None,
        "Standard error over the folds, each a mean over the seeds: they differ in their data, and "
        "share most of what they train on, so it is rather too small; standard_error is of seeds, "
        "all on the same folds.",
    )


@dataclass(frozen=True)
class Pin:
    """A person's choice of a trial, in place of the rule's."""

    trial: int = _of("Number of the trial.", ge=0)
    reason: str | None = _of("Why.")
    by: str = _of("Who: user@host.")


@dataclass(frozen=True)
class Provenance:
    """Where the answer comes from."""

    version: int | None = _of("Which of the study's recorded answers this is; null: not recorded.")
    trial: int | None = _of("Trial of the configuration; null for one that no trial has tried.")
    source: Literal["search", "ladder", "zero"] = _since_0_2(
        "search",
        "A trial of the search, a rung of the ladder of λ, or the control without a penalty.",
    )
    confirmation: str | None = _of("Study with the trainings on fresh seeds.")
    trials_by_state: dict[str, int] = _of("Number of trials of the search by state.")
    seed: int = _of("The study's seed.")
    sampler: str = _of("Which sampler suggested configurations.")
    pruner: str = _of("Which pruner ended trials early.")
    spec_hash: str = _of("Equal for studies of equal settings.")
    versions: dict[str, str] = _of("Versions of the programs.")
    exported_at: str = _of("When, in UTC.", json_schema_extra={"format": "date-time"})


@dataclass(frozen=True)
class Best:
    """The weight decay that a study has found, with what it means and how well it is known."""

    schema: Literal["lambda-tuner/best/1"] = _of("Name and version of this form.")
    study: str = _of("Name of the study.")
    rule: Rule = _of(
        "best: the best trial of the search; min: the best by fresh seeds; 1se: the "
        "largest λ that loses next to nothing beside it; λ = 0 where fresh seeds find that better."
    )
    weight_decay: float | None = _of(
        "torch's optimizer argument; of a function objective, its parameter of that name. Null if "
        "no number was searched.",
        ge=0,
    )
    l2_penalty: float | None = _of(
        "Half of it: the λ of loss + λ Σ||w||². Null where the optimizer is not known to be plain "
        "SGD with a coupled decay, as of every function objective.",
        ge=0,
    )
    lr: float | None = _of("Learning rate that goes with it; null if no number.", gt=0)
    params: dict[str, Any] = _of(
        "All parameters of the configuration. A number that JSON cannot hold is the text inf, "
        "-inf or nan, and params_as_text names it."
    )
    params_as_text: tuple[str, ...] | None = _since_0_2(
        None, "Which of params are numbers, or hold some, that JSON cannot hold; null for none."
    )
    pinned: Pin | None = _of("The trial chosen by a person, in place of the rule's.")
    meaning: Meaning = _of("What λ was tuned for.")
    evidence: Evidence = _of("What was measured.")
    provenance: Provenance = _of("Where the answer comes from.")
