"""The command that trains a study's candidates on fresh seeds: `tuner confirm`."""

import logging

import typer

from tuner.commands import answer_options, engine_options, options, worker_options
from tuner.commands.printing import tell
from tuner.logs import about, set_level
from tuner.serving import find_remote
from tuner.workers.shutdown import Leaving


@worker_options.with_worker_options
@engine_options.with_engine_options
@options.with_study
def confirm(
    context: typer.Context,
    storage: str,
    study: str,
    seeds: answer_options.Seeds = None,
    workers: options.Workers = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train λ with its learning rate on fresh seeds; tell λ_min, λ_1se, and what they are worth.

    The trials are those of a study NAME/confirm: workers of other hosts may join it. Ctrl-C gives
    running trials back; the same command resumes. Only at the end the test set is read, once, for
    the chosen λ. With --server workers elsewhere do it: `tuner status` says how far.
    """
    if (remote := find_remote(context)) is not None:
        asked = remote.confirm(study, seeds)
        sentence = f"Study {study!r} is confirmed by workers of all studies once its search is over"
        tell(asked, sentence, as_json=as_json)
        return
    leaving = Leaving()
    with leaving.listening(), about(study=study):
        from tuner.answer.document import build_document
        from tuner.confirmation.confirm import ConfirmRequest, confirm_study
        from tuner.report import progress_console
        from tuner.story import tell_confirmation
        from tuner.study import load_study_to_read

        level = logging.INFO if verbose else logging.WARNING
        set_level(level)
        engine = engine_options.read_choice(context)
        worker = worker_options.read_config(context, study, log_level=level, engine=engine)
        request = ConfirmRequest(worker, workers, seeds)
        confirmation = confirm_study(request, progress_console(), leaving)
        evidence = build_document(load_study_to_read(storage, study))["evidence"]
    lines = tell_confirmation(confirmation, evidence)
    tell(confirmation.model_dump(mode="json"), *lines, as_json=as_json)
