"""The command that trains for others: `tuner worker`, at one study or at all that are open."""

import typer

from tuner.commands import options, service_options, worker_options
from tuner.errors import UsageError
from tuner.workers.shutdown import Leaving


@worker_options.with_worker_options
@options.with_storage
def worker(
    context: typer.Context,
    storage: str,
    study: service_options.AnyStudyName = None,
    exit_when_idle: service_options.ExitWhenIdle = False,
    workers: worker_options.Trainers = 1,
    metrics_port: worker_options.MetricsPort = 0,
    metrics_host: worker_options.MetricsHost = "127.0.0.1",
) -> None:
    """Train a study from any host until its budget is spent; without --study, all open studies.

    Of all open studies, those of the highest priority come first, then the oldest; where none has
    work, those that are over and wait to be confirmed; with none, it waits for new ones. Studies
    whose objective is a function are then trained only if --allow-objective names its module; with
    --study, any are, unless the option is given.
    It is a crew: one process that talks to the database, and --workers N that train.
    """
    from tuner.metrics.worker import serve_metrics
    from tuner.workers import nursery
    from tuner.workers.coordinator import run_worker

    if study is not None and exit_when_idle:
        raise UsageError("--exit-when-idle is for workers without --study: leave one out")
    leaving = Leaving()
    with leaving.listening(), nursery.abandoning():
        if metrics_port:
            serve_metrics(metrics_host, metrics_port)
        joining = worker_options.read_config(context, study or "", n_trainers=workers)
        if study is None:
            from tuner.wishes import fulfil, list_due
            from tuner.workers.fleet import Duty, run_fleet_worker

            duty = Duty(list_due, fulfil)
            status = run_fleet_worker(joining, leaving, exits_when_idle=exit_when_idle, duty=duty)
        else:
            status = run_worker(joining, leaving)
    raise typer.Exit(status)
