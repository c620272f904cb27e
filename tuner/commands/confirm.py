"""The command that trains a study's candidates on fresh seeds: `tuner confirm`.

A part of the command line: prints, and leaves exit statuses of errors to `tuner.cli`.
"""

import logging

import typer

from tuner.commands import answer_options, options, worker_options
from tuner.leaving import Leaving
from tuner.logs import about


def add_confirm_command(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: tuner confirm --study simplenet-mnist --workers 2")(confirm)


@worker_options.with_worker_options
def confirm(
    context: typer.Context,
    config: options.Config = None,
    storage: options.Storage = options.DEFAULT_STORAGE,
    storage_password_file: options.StoragePasswordFile = None,
    study: options.StudyName = options.DEFAULT_STUDY,
    seeds: answer_options.Seeds = None,
    rungs: answer_options.Rungs = None,
    racing: answer_options.Racing = None,
    workers: options.Workers = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a λ ladder, λ = 0 and the best trial's λ on fresh seeds; tell λ_min and λ_1se.

    The trials are those of a study NAME/confirm: workers of other hosts may join it. Ctrl-C gives
    running trials back; the same command resumes. Only at the end the test set is read, once, for
    the chosen λ.
    """
    leaving = Leaving()
    with leaving.listening(), about(study=study):
        from tuner import processes

        processes.preload()  # if that has not been done earlier
        from tuner.confirmation.confirm import ConfirmRequest, PlanOptions, confirm_study
        from tuner.report import progress_console
        from tuner.story import tell_confirmation

        level = logging.INFO if verbose else logging.WARNING
        worker = worker_options.read_config(context, study, log_level=level)
        request = ConfirmRequest(worker, workers, PlanOptions(seeds, rungs, racing))
        confirmation = confirm_study(request, progress_console(), leaving)
    if as_json:
        print(confirmation.model_dump_json(indent=2))
    else:
        print("\n".join(tell_confirmation(confirmation)))
