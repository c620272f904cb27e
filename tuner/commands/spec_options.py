"""The options of a study's spec, each once.

They have no default here: a study that exists keeps its own, so only what was given counts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from objectives import DATASETS, OBJECTIVES
from objectives.functions import is_users
from tuner import factory_options
from tuner.commands.options import option, with_options
from tuner.ranges import as_distributions, as_fields, read_fixed, read_ranges
from tuner.spec import Spec, build_new_spec, check_name_and_budget, read_options


def check_new_study(storage_url: str, context: typer.Context) -> None:
    """Refuse a study that cannot work before a database file is made for it (UsageError).

    A study that may exist already is checked with what it was created with: see `tuner.study`.
    """
    prefix = "sqlite:///"
    if storage_url.startswith(prefix) and not Path(storage_url.removeprefix(prefix)).exists():
        options = given(context)
        is_ours = not is_users(options.get("objective", ""))
        build_new_spec(options) if is_ours else read_options(options)
    check_name_and_budget(context.params["study"], context.params["trials"])


def given(context: typer.Context) -> dict[str, Any]:
    """Return the options of the spec that were given, by flag, environment or study file."""
    found = {
        name: context.params[name]
        for name in Spec.model_fields
        if context.params.get(name) is not None and name not in ("search", "objective_options")
    }
    if texts := context.params.get("search"):
        found["search"] = read_ranges(texts)
    if texts := context.params.get("fix"):
        found["fixed"] = read_fixed(texts)
    if texts := context.params.get("objective_options"):
        found["objective_options"] = factory_options.read_options(texts)
    return found


def given_to_service(context: typer.Context) -> dict[str, Any]:
    """Return the options of the spec for a service, which takes ranges as distributions."""
    found = given(context)
    objective = found.get("objective", Spec.model_fields["objective"].default)
    if not is_users(objective):
        return as_fields(found)
    return {**found, **({"search": as_distributions(found["search"])} if "search" in found else {})}


def with_spec_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add options of the spec (all, or those named) to a command; `given` returns their values."""
    return with_options({name: (_SPEC_OPTIONS[name], None) for name in names or _SPEC_OPTIONS})


def _default(name: str) -> str:
    value = Spec.model_fields[name].default
    return " ".join(f"{bound:g}" for bound in value) if isinstance(value, tuple) else str(value)


_PANEL = "Study (kept with it)"


def _spec_option(flag: str, help_text: str, **settings: Any) -> Any:
    name = flag.removeprefix("--").partition("/")[0].replace("-", "_")
    return option(
        flag,
        help_text,
        show_default=settings.pop("default", None) or _default(name),
        rich_help_panel=_PANEL,
        **settings,
    )


_AS_IT_HAS = "as the problem has it"
# The options of the spec, by field; ``fix`` is the field ``fixed``.
_SPEC_OPTIONS: dict[str, Any] = {
    "objective": Annotated[
        str | None,
        _spec_option(
            "--objective",
            f"{', '.join(OBJECTIVES)}, or your own package.module:function or file.py:function.",
            metavar="NAME",
        ),
    ],
    "objective_options": Annotated[
        list[str] | None,
        typer.Option(
            factory_options.FLAG,
            envvar="TUNER_OBJECTIVE_OPTIONS",  # a table [objective_options] of a study file
            help="What the function takes that makes your problem; may be repeated.",
            metavar="NAME=VALUE",
            show_default="none",
            rich_help_panel=_PANEL,
        ),
    ],
    "dataset": Annotated[
        str | None, _spec_option("--dataset", f"{', '.join(DATASETS)}.", metavar="NAME")
    ],
    "train_size": Annotated[
        int | None,
        _spec_option(
            "--train-size", "Use the first N training images.", metavar="N", default="all"
        ),
    ],
    "batch_size": Annotated[
        int | None, _spec_option("--batch-size", "Images a step.", metavar="N")
    ],
    "last_batch": Annotated[
        str | None,
        _spec_option(
            "--last-batch",
            "An epoch's smaller last batch: drop it, scale its gradient to its size, or keep it.",
            metavar="NAME",
            default="drop if there are ten others, else scale",
        ),
    ],
    "epochs": Annotated[int | None, _spec_option("--epochs", "Most epochs a trial.", metavar="N")],
    "weight_decay": Annotated[
        tuple[float, float] | None,
        _spec_option("--weight-decay", "Range of λ searched, log-uniform.", metavar="LOW HIGH"),
    ],
    "lr": Annotated[
        tuple[float, float] | None,
        _spec_option(
            "--lr", "Range of the learning rate searched, log-uniform.", metavar="LOW HIGH"
        ),
    ],
    "search": Annotated[
        list[str] | None,
        _spec_option(
            "--search",
            "What else is searched, of training or model: NAME=LOW..HIGH, LOW..HIGH:log, or "
            "NAME=a,b,c; may be repeated.",
            metavar="NAME=RANGE",
            default=_AS_IT_HAS,
        ),
    ],
    "fix": Annotated[
        list[str] | None,
        _spec_option(
            "--fix",
            "What is the same for all trials, of training or of the model; may be repeated.",
            metavar="NAME=VALUE",
            default="none",
        ),
    ],
    "strength": Annotated[
        str | None,
        _spec_option(
            "--strength",
            "What is asked about: weight_decay, l2_penalty, l1, alpha, dropout, ...",
            metavar="NAME",
            default=_AS_IT_HAS,
        ),
    ],
    "optimizer": Annotated[
        str | None,
        _spec_option("--optimizer", "sgd, adam or adamw.", metavar="NAME", default=_AS_IT_HAS),
    ],
    "nesterov": Annotated[
        bool | None,
        _spec_option(
            "--nesterov/--no-nesterov", "Nesterov's momentum, of sgd.", default=_AS_IT_HAS
        ),
    ],
    "schedule": Annotated[
        str | None,
        _spec_option(
            "--schedule",
            "Of the learning rate: constant, cosine or onecycle.",
            metavar="NAME",
            default=_AS_IT_HAS,
        ),
    ],
    "decay": Annotated[
        str | None,
        _spec_option(
            "--decay",
            "How weight_decay acts: coupled, decoupled, cautious or corrected.",
            metavar="NAME",
            default="as the optimizer has it",
        ),
    ],
    "decays": Annotated[
        str | None,
        _spec_option(
            "--decays",
            "What decays, and has penalties: all parameters, or matrices.",
            metavar="NAME",
            default=_AS_IT_HAS,
        ),
    ],
    "proximal": Annotated[
        bool | None,
        _spec_option(
            "--proximal/--subgradient",
            "L1 acts by proximal steps, with exact zeros, or by its subgradient.",
            default=_AS_IT_HAS,
        ),
    ],
    "clip_norm": Annotated[
        float | None,
        _spec_option("--clip-norm", "Longest gradient of a step.", metavar="X", default=_AS_IT_HAS),
    ],
    "patience": Annotated[
        int | None,
        _spec_option(
            "--patience",
            "End a trial after so many epochs without a better one, with the best one's model.",
            metavar="N",
            default=_AS_IT_HAS,
        ),
    ],
    "folds": Annotated[
        int | None,
        _spec_option(
            "--folds",
            "Train a trial on so many folds of the data; its value is their mean.",
            metavar="K",
            default="none",
        ),
    ],
    "validation": Annotated[
        float | None,
        _spec_option(
            "--validation",
            "Share of a problem's data, or number of examples, that prune and select.",
            metavar="X",
            default=_AS_IT_HAS,
        ),
    ],
    "test": Annotated[
        float | None,
        _spec_option(
            "--test",
            "Share of a problem's data, or number of examples, that are read once, at the end.",
            metavar="X",
            default=_AS_IT_HAS,
        ),
    ],
    "label_noise": Annotated[
        float | None,
        _spec_option(
            "--label-noise",
            "Share of training labels that are replaced by another class.",
            metavar="X",
            default="0",
        ),
    ],
    "sampler": Annotated[
        str | None,
        _spec_option("--sampler", "tpe, gp, random, qmc, cmaes or grid.", metavar="NAME"),
    ],
    "pruner": Annotated[
        str | None,
        _spec_option("--pruner", "median, asha, hyperband, wilcoxon or none.", metavar="NAME"),
    ],
    "learn_from_failures": Annotated[
        bool | None,
        _spec_option(
            "--learn-from-failures/--ignore-failures",
            "Take failed trials for the worst there are, or for nothing (tpe).",
            default="on",
        ),
    ],
    "seed": Annotated[int | None, _spec_option("--seed", "Seed of the study.", metavar="N")],
    "direction": Annotated[
        str | None,
        _spec_option(
            "--direction", "maximize or minimize, for an objective of your own.", metavar="NAME"
        ),
    ],
}
