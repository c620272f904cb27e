"""`tuner check`: what there is to know of a problem before a study of it begins.

A part of the command line: prints, and leaves exit statuses of errors to `tuner.cli`.
"""

from typing import Annotated

import typer

from objectives.functions import is_users
from objectives.settings import SETTINGS
from tuner.commands import options, spec_options
from tuner.commands.study_file import SCHEMA_FILE
from tuner.errors import UsageError
from tuner.factory_options import tell_options
from tuner.plain import show
from tuner.strict_json import to_json

_Schema = Annotated[
    bool,
    typer.Option("--schema", help="Print the JSON Schema of study files, for editors."),
]


def add_check_command(app: typer.Typer) -> None:
    """Add the command."""
    command = app.command("check", epilog="Example: tuner check --objective churn.py:problem")
    fields = (
        *("objective", "objective_options", "batch_size", "last_batch", "epochs"),
        *("weight_decay", "lr", "search", "seed", "fix", *SETTINGS),
    )
    command(spec_options.with_spec_options(*fields)(_check))


def _check(
    context: typer.Context,
    config: options.Config = None,
    as_json: options.Json = False,
    schema: _Schema = False,
) -> None:
    """Try a problem of your own: shapes, loss, metric, program, λ's clock; nothing is stored."""
    if schema:
        print(SCHEMA_FILE.read_text(encoding="utf-8"), end="")
        return
    from tuner.checked import tell
    from tuner.workers.jobs import look_at_objective

    given = spec_options.given(context)
    objective = given.get("objective", "")
    if not is_users(objective):
        raise UsageError(
            f"--objective {objective or 'is missing'}: name a problem of yours, as churn.py:problem"
        )
    found = look_at_objective(objective, given, is_timed=True)
    called_with = given.get("objective_options")
    if as_json:
        named = {"objective": objective, "objective_options": called_with}
        print(to_json({**named, "is_function": found is None, **(found or {})}))
    elif found is None:
        show(f"{objective} is a function of a trial: it loads; what it does is known when it runs")
    else:
        lines = {"options": tell_options(called_with)} if called_with else {}
        lines |= tell(found)
        show("\n".join(f"{name:<16} {text}" for name, text in lines.items()))
