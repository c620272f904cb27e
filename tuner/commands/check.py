"""`tuner check`: what there is to know of a problem before a study of it begins.

A part of the command line: prints, and leaves exit statuses of errors to `tuner.cli`.
"""

import typer

from objectives.functions import is_users
from tuner.commands import options
from tuner.errors import UsageError
from tuner.plain import show
from tuner.strict_json import to_json


def add_check_command(app: typer.Typer) -> None:
    """Add the command."""
    command = app.command("check", epilog="Example: tuner check --objective churn.py:problem")
    fields = (
        "objective",
        "batch_size",
        "last_batch",
        "epochs",
        "weight_decay",
        "lr",
        "search",
        "seed",
    )
    command(options.with_spec_options(*fields)(_check))


def _check(
    context: typer.Context,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Try a problem of your own: shapes, loss, metric, program, λ's clock; nothing is stored."""
    from tuner.checked import tell
    from tuner.workers.jobs import look_at_objective

    given = options.given(context)
    objective = given.get("objective", "")
    if not is_users(objective):
        raise UsageError(
            f"--objective {objective or 'is missing'}: name a problem of yours, as churn.py:problem"
        )
    found = look_at_objective(objective, given, is_timed=True)
    if as_json:
        print(to_json({"objective": objective, "is_function": found is None, **(found or {})}))
    elif found is None:
        show(f"{objective} is a function of a trial: it loads; what it does is known when it runs")
    else:
        show("\n".join(f"{name:<16} {text}" for name, text in tell(found).items()))
