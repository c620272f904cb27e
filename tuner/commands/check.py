"""`tuner check`: what there is to know of a problem before a study of it begins."""

from typing import Annotated

import typer

from objectives.functions import is_users
from objectives.settings import SETTINGS
from tuner.commands import options, spec_options
from tuner.commands.printing import tell
from tuner.commands.study_file import SCHEMA_FILE
from tuner.errors import UsageError
from tuner.factory_options import tell_options

_Schema = Annotated[
    bool,
    typer.Option("--schema", help="Print the JSON Schema of study files, for editors."),
]


@spec_options.with_spec_options(
    *("objective", "objective_options", "batch_size", "last_batch", "epochs", "weight_decay", "lr"),
    *("search", "seed", "fix", *SETTINGS),
)
def check(
    context: typer.Context,
    config: options.Config = None,
    as_json: options.Json = False,
    schema: _Schema = False,
) -> None:
    """Try a problem of your own: shapes, loss, metric, program, λ's clock; nothing is stored."""
    if schema:
        print(SCHEMA_FILE.read_text(encoding="utf-8"), end="")
        return
    from tuner.checked import describe
    from tuner.workers.jobs import look_at_objective

    given = spec_options.given(context)
    objective = given.get("objective", "")
    if not is_users(objective):
        raise UsageError(
            f"--objective {objective or 'is missing'}: name a problem of yours, as churn.py:problem"
        )
    found = look_at_objective(objective, given, is_timed=True)
    called_with = given.get("objective_options")
    lines = [f"{objective} is a function of a trial: it loads; what it does is known when it runs"]
    if found is not None:
        told = {"options": tell_options(called_with)} if called_with else {}
        lines = [f"{name:<16} {text}" for name, text in (told | describe(found)).items()]
    named = {"objective": objective, "objective_options": called_with}
    tell({**named, "is_function": found is None, **(found or {})}, *lines, as_json=as_json)
