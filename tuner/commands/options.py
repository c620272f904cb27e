"""The command line's options: name, environment variable, unit, default and help, each once.

Flag beats environment beats study file (``--config``) beats default. Options of the spec have
no default here: a study that exists keeps its own, so only what was given counts.
"""

import functools
import inspect
import logging
import re
import tomllib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

from objectives import DATASETS, OBJECTIVES
from objectives.functions import is_users
from tuner.errors import UsageError
from tuner.logs import LOG_FORMATS, set_up_logging
from tuner.ranges import as_fields, read_ranges
from tuner.spec import Spec, check_name_and_budget, read_options

DEFAULT_STORAGE = "sqlite:///tuner.db"
DEFAULT_STUDY = "simplenet-mnist"
DEFAULT_OUTPUT = Path("best_lambda.json")

# The command's storage, for what is said of an error that nobody expected.
storage_in_use: ContextVar[str | None] = ContextVar("storage_in_use", default=None)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str | float) -> float:
    """Return seconds for e.g. ``90``, ``90s``, ``30m``, ``2h`` or ``1d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(text).strip())
    if match is None or float(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not a duration: write 90s, 30m, 2h or 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def parse_workers(text: str | int) -> int | None:
    """Return a number of workers; None for ``auto``."""
    if str(text).strip() == "auto":
        return None
    if re.fullmatch(r"\d{1,6}", str(text).strip()) is None or int(text) == 0:
        raise typer.BadParameter(f"{text!r} is no number of workers: write 1, 2, ... or auto")
    return int(text)


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take a study file's values as the defaults of this command.

    One file serves several commands, so keys of other commands' options are passed over.
    """
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} is not TOML: {error}") from error
    own = {_key(parameter): parameter.name for parameter in context.command.params}
    known = {_key(p) for command in _all_commands(context) for p in command.params}
    defaults = {}
    for name, value in values.items():
        key = name.replace("_", "-")
        if key not in known - {"config", ""}:
            raise typer.BadParameter(f"{path}: there is no option {name!r}")
        if isinstance(value, dict):
            raise typer.BadParameter(f"{path}: options are top-level keys, not a table [{name}]")
        if key in own:
            defaults[own[key]] = value
    context.default_map = defaults
    return path


def use_log_format(name: str) -> str:
    """Log in this format from now on."""
    if name not in LOG_FORMATS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(LOG_FORMATS)}")
    set_up_logging(logging.INFO, name)
    return name


def _key(parameter: Any) -> str:
    """Return an option's name in a study file: its variable's, so that each has one meaning."""
    return str(parameter.envvar or "").removeprefix("TUNER_").replace("_", "-").lower()


def _all_commands(context: typer.Context) -> list[Any]:
    return _commands_of(context.find_root().command)


def _commands_of(group: Any) -> list[Any]:
    """Return a group's commands, and those of the groups in it."""
    found: list[Any] = []
    for command in group.commands.values():
        found += _commands_of(command) if hasattr(command, "commands") else [command]
    return found


def fill_in_password(file_option: str) -> Callable[[typer.Context, str], str]:
    """Return what puts the password of another option's file, which is read before, into a URL."""

    def fill_in(context: typer.Context, url: str) -> str:
        file = context.params.get(file_option)
        if context.find_root().obj is not None:  # where a service is asked, it counts for nothing
            return url
        if file is not None:
            from storage import with_password

            url = with_password(url, file)
        storage_in_use.set(url)
        return url

    return fill_in


def check_new_study(storage_url: str, context: typer.Context) -> None:
    """Refuse a study that cannot work before a database file is made for it (UsageError).

    A study that may exist already is checked with what it was created with: see `tuner.study`.
    """
    prefix = "sqlite:///"
    if storage_url.startswith(prefix) and not Path(storage_url.removeprefix(prefix)).exists():
        read_options(given(context))
    check_name_and_budget(context.params["study"], context.params["trials"])


def given(context: typer.Context) -> dict[str, Any]:
    """Return the options of the spec that were given, by flag, environment or study file."""
    found = {
        name: context.params[name]
        for name in Spec.model_fields
        if context.params.get(name) is not None
    }
    if texts := context.params.get("search"):
        found["search"] = read_ranges(texts)
    return found


def given_to_service(context: typer.Context) -> dict[str, Any]:
    """Return the options of the spec for a service, which knows ranges of built-ins alone."""
    found = given(context)
    objective = found.get("objective", Spec.model_fields["objective"].default)
    if not is_users(objective):
        return as_fields(objective, found)
    if "search" in found:
        raise UsageError(f"--search has no effect on {objective} by way of a service")
    return found


def with_spec_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add options of the spec (all, or those named) to a command; `given` returns their values."""
    return with_options({name: (_SPEC_OPTIONS[name], None) for name in names or _SPEC_OPTIONS})


def with_options(
    added: Mapping[str, tuple[Any, Any]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add options, by parameter, to a command that reads them from its context.

    Each is an annotation of typer's and a default.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)

        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            command(**{name: values[name] for name in signature.parameters})

        annotations = {name: annotation for name, (annotation, _) in added.items()}
        wrapped.__annotations__ = {**command.__annotations__, **annotations}
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(name, keyword, default=default, annotation=annotation)
            for name, (annotation, default) in added.items()
        ]
        wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *parameters]
        )
        return wrapped

    return decorate


def _default(name: str) -> str:
    value = Spec.model_fields[name].default
    return " ".join(f"{bound:g}" for bound in value) if isinstance(value, tuple) else str(value)


def option(flag: str, help_text: str, *, has_variable: bool = True, **settings: Any) -> Any:
    """Return a typer option; its environment variable, if it has one, is named after its flag."""
    name = flag.removeprefix("--").partition("/")[0].replace("-", "_").upper()
    envvar = f"TUNER_{name}" if has_variable else None
    return typer.Option(flag, envvar=envvar, help=help_text, **settings)


def _spec_option(flag: str, help_text: str, **settings: Any) -> Any:
    name = flag.removeprefix("--").partition("/")[0].replace("-", "_")
    return option(
        flag,
        help_text,
        show_default=settings.pop("default", None) or _default(name),
        rich_help_panel="Study (kept with it)",
        **settings,
    )


# The options of the spec, by field.
_SPEC_OPTIONS: dict[str, Any] = {
    "objective": Annotated[
        str | None,
        _spec_option(
            "--objective",
            f"{', '.join(OBJECTIVES)}, or your own package.module:function or file.py:function.",
            metavar="NAME",
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
            "What is searched of a problem of yours: NAME=LOW..HIGH, LOW..HIGH:log, or NAME=a,b,c; "
            "may be repeated.",
            metavar="NAME=RANGE",
            default="as the problem has it",
        ),
    ],
    "sampler": Annotated[
        str | None,
        _spec_option("--sampler", "tpe, gp, random, qmc, cmaes or grid.", metavar="NAME"),
    ],
    "pruner": Annotated[
        str | None, _spec_option("--pruner", "median, asha, hyperband or none.", metavar="NAME")
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

Config = Annotated[
    Path | None,
    option(
        "--config",
        "TOML file with options as keys, e.g. trials = 20.",
        metavar="FILE",
        is_eager=True,
        callback=read_config,
    ),
]
Storage = Annotated[
    str,
    option(
        "--storage",
        "Database: sqlite:///FILE, postgresql://..., mysql://...",
        metavar="URL",
        callback=fill_in_password("storage_password_file"),
    ),
]
StoragePasswordFile = Annotated[
    Path | None,
    option(
        "--storage-password-file",
        "File with the storage's password, e.g. /run/secrets/database-password.",
        metavar="FILE",
        show_default="none",
        is_eager=True,  # before --storage
    ),
]
StudyName = Annotated[str, option("--study", "Name of the study.", metavar="NAME")]
Priority = Annotated[
    int | None,
    option(
        "--priority",
        "Workers without --study serve the highest first.",
        metavar="N",
        min=-1000,
        max=1000,
        show_default="0",
    ),
]
Json = Annotated[bool, option("--json", "Print one JSON document on stdout, nothing else.")]
LogFormat = Annotated[
    str,
    option(
        "--log-format",
        "Of what goes to stderr: text, or json, an object a line.",
        metavar="NAME",
        is_eager=True,  # so that wrong usage is told in it
        callback=use_log_format,
    ),
]
Verbose = Annotated[bool, option("--verbose", "Log every trial to stderr.")]

Trials = Annotated[
    int | None,
    option(
        "--trials",
        "Budget: how many trials to finish in all.",
        metavar="N",
        min=1,
        show_default="50",
    ),
]
Timeout = Annotated[
    float | None,
    option(
        "--timeout",
        "Start no trial of the search later than this from now, e.g. 90s, 30m, 2h.",
        metavar="DURATION",
        parser=parse_duration,
        show_default="none",
    ),
]
MaxRetries = Annotated[
    int | None,
    option(
        "--max-retries",
        "How often a trial is run again whose worker died.",
        metavar="N",
        min=0,
        show_default="2",
    ),
]
WarmStart = Annotated[
    str | None,
    option(
        "--warm-start",
        "Study of this storage whose complete trials teach the sampler (tpe, gp).",
        metavar="STUDY",
        show_default="none",
    ),
]
Workers = Annotated[
    int | None,
    option(
        "--workers",
        "Processes that train, or auto: all that there is room for.",
        metavar="N",
        parser=parse_workers,
        show_default="auto",
    ),
]
Output = Annotated[
    Path, option("--output", "File the best λ is written to, as JSON.", metavar="FILE")
]
TrialNumber = Annotated[
    int | None,
    option("--trial", "Replay this trial of --study.", metavar="N", show_default="none"),
]
