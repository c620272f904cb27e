"""The command that trains for others: `tuner worker`, at one study or at all that are open.

A part of the command line: prints, and leaves exit statuses of errors to `tuner.cli`.
"""

import typer

from tuner.allowed import AllowedObjectives
from tuner.commands import options, service_options, worker_options
from tuner.errors import UsageError
from tuner.leaving import Leaving


def add_worker_command(app: typer.Typer) -> None:
    """Add the command."""
    example = "Example: tuner worker --storage postgresql://user@host/tuner --study NAME"
    app.command(epilog=example)(worker)


@worker_options.with_worker_options
def worker(
    context: typer.Context,
    config: options.Config = None,
    storage: options.Storage = options.DEFAULT_STORAGE,
    storage_password_file: options.StoragePasswordFile = None,
    study: service_options.AnyStudyName = None,
    exit_when_idle: service_options.ExitWhenIdle = False,
    allow_objective: service_options.AllowObjectives = None,
    metrics_port: worker_options.MetricsPort = 0,
    metrics_host: worker_options.MetricsHost = "127.0.0.1",
) -> None:
    """Train a study from any host until its budget is spent; without --study, all open studies.

    Of all open studies, those of the highest priority come first, then the oldest; with none
    open, it waits for new ones. Studies whose objective is a function are then trained only if
    --allow-objective names its module; with --study, any are, unless the option is given.
    """
    from tuner.fleet import run_fleet_worker
    from tuner.metrics.worker import serve_metrics
    from tuner.worker import run_worker

    if study is not None and exit_when_idle:
        raise UsageError("--exit-when-idle is for workers without --study: leave one out")
    allowed = None if allow_objective is None else AllowedObjectives(frozenset(allow_objective))
    leaving = Leaving()
    with leaving.listening():
        if metrics_port:
            serve_metrics(metrics_host, metrics_port)
        joining = worker_options.read_config(context, study or "", allowed=allowed)
        if study is None:
            status = run_fleet_worker(joining, leaving, exits_when_idle=exit_when_idle)
        else:
            status = run_worker(joining, leaving)
    raise typer.Exit(status)
