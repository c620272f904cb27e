"""The options of what ends a study, or a trial, that only costs: see `tuner.brakes`."""

from typing import Annotated, Any

import typer

from tuner.brakes import Brakes
from tuner.commands.options import option, parse_duration, with_options

_PANEL = "Brakes (kept with the study)"

_OPTIONS: dict[str, tuple[Any, Any]] = {
    "max_failures": (
        Annotated[
            int | None,
            option(
                "--max-failures",
                "Stop the study when so many trials in a row have failed; 0: never.",
                metavar="N",
                min=0,
                show_default="10",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "trial_timeout": (
        Annotated[
            float | None,
            option(
                "--trial-timeout",
                "End a trial that takes longer than this, e.g. 30m: it has failed.",
                metavar="DURATION",
                parser=parse_duration,
                show_default="none",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "silence_timeout": (
        Annotated[
            float | None,
            option(
                "--silence-timeout",
                "End a trial that reports nothing for so long, e.g. 5m: it has failed.",
                metavar="DURATION",
                parser=parse_duration,
                show_default="none",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "retry_on": (
        Annotated[
            list[str] | None,
            option(
                "--retry-on",
                "Run a trial again that raised this: out-of-memory, or an exception's name. "
                "As often as --max-retries says; may be repeated.",
                metavar="NAME",
                show_default="none",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "trials_per_process": (
        Annotated[
            int | None,
            option(
                "--trials-per-process",
                "Renew a worker's process after so many trials of a function.",
                metavar="N",
                min=1,
                show_default="never",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
}

with_brake_options = with_options(_OPTIONS)


def given(context: typer.Context) -> dict[str, Any]:
    """Return the brakes that were given, by flag, environment or study file."""
    values = {name: context.params.get(name) for name in Brakes.model_fields}
    return {name: value for name, value in values.items() if value not in (None, [], ())}
