"""The command line's options: name, environment variable, unit, default and help, each once.

Flag beats environment beats study file (``--config``) beats default. Those of the spec are in
``tuner.commands.spec_options``.
"""

import functools
import inspect
import logging
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.commands.study_file import read_study_file
from tuner.logs import LOG_FORMATS, set_up_logging

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


def use_log_format(name: str) -> str:
    """Log in this format from now on."""
    if name not in LOG_FORMATS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(LOG_FORMATS)}")
    set_up_logging(logging.INFO, name)
    return name


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


def with_options(
    added: Mapping[str, tuple[Any, Any]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add options, by parameter, to a command that reads them from its context, or takes some.

    Each is an annotation of typer's and a default. They stand in the place of the first that the
    command takes, or at the end.
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
        own = [each.replace(kind=keyword) for each in signature.parameters.values()]
        place = next((i for i, each in enumerate(own) if each.name in added), len(own))
        parameters[:0] = own[:place]
        parameters += [each for each in own[place:] if each.name not in added]
        wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return wrapped

    return decorate


def option(flag: str, help_text: str, *, has_variable: bool = True, **settings: Any) -> Any:
    """Return a typer option; its environment variable, if it has one, is named after its flag."""
    name = flag.removeprefix("--").partition("/")[0].replace("-", "_").upper()
    envvar = f"TUNER_{name}" if has_variable else None
    return typer.Option(flag, envvar=envvar, help=help_text, **settings)


Config = Annotated[
    Path | None,
    option(
        "--config",
        "TOML file with options as keys, e.g. trials = 20.",
        metavar="FILE",
        is_eager=True,
        callback=read_study_file,
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
_OF_STORAGE: dict[str, tuple[Any, Any]] = {
    "config": (Config, None),
    "storage": (Storage, DEFAULT_STORAGE),
    "storage_password_file": (StoragePasswordFile, None),
}
with_storage = with_options(_OF_STORAGE)
with_study = with_options(_OF_STORAGE | {"study": (StudyName, DEFAULT_STUDY)})

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
