"""The command line: one short function a command, exit statuses, logging set-up.

Exit status 0 done, 1 failed, 2 wrong usage, 130 interrupted. Results go to stdout, all else to
stderr. What takes long to import is imported by the command that needs it.
"""

import logging
import os
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from objectives import ObjectiveError, ProblemError, UnknownNameError
from tuner.commands import (
    answer_options,
    brake_options,
    engine_options,
    options,
    service_options,
    spec_options,
    worker_options,
)
from tuner.commands.check import check
from tuner.commands.confirm import confirm
from tuner.commands.export import export
from tuner.commands.path import path
from tuner.commands.printing import tell
from tuner.commands.serve import dashboard, serve
from tuner.commands.state import add_state_commands
from tuner.commands.storage import storage_app
from tuner.commands.study import study_app
from tuner.commands.tokens import token_app
from tuner.commands.train import train
from tuner.commands.users import user_app
from tuner.commands.worker import worker
from tuner.errors import StudyFailedError, TunerError, UsageError
from tuner.logs import about, say_end, set_level, set_up_logging
from tuner.plain import make_output_plain, show
from tuner.serving import find_remote, note_server
from tuner.spec import check_name_and_budget
from tuner.strict_json import to_json
from tuner.workers.shutdown import INTERRUPTED_STATUS, Leaving

if TYPE_CHECKING:
    from tuner.run import RunResult

app = typer.Typer(
    help="Find how much weight decay (λ) a network needs.",
    epilog="Example: tuner run --trials 20 --workers 2, then tuner dashboard",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(storage_app, name="storage")
app.add_typer(study_app, name="study")
app.add_typer(user_app, name="user")
app.add_typer(token_app, name="token")


def main() -> None:
    """Run the command line and exit; an expected error is one line on stderr."""
    make_output_plain()
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()  # a full disk is noticed here, not when Python ends
    except typer.TyperException as error:
        _exit_with(f"{error.format_message()}{_value_in(error)}", error.exit_code)
    except (UsageError, UnknownNameError, ProblemError) as error:
        _exit_with(str(error), 2)
    except (TunerError, ObjectiveError) as error:
        _exit_with(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        _exit_with("interrupted", INTERRUPTED_STATUS)
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.stdout = None  # or Python would try to flush it once more
        _exit_with(str(error), 1)
    except UnicodeEncodeError as error:
        if error.reason != "surrogates not allowed":
            raise
        # Bytes that Python could not read; not repeated, as they may be a password.
        _exit_with(
            "An option or a variable is no text in this locale: write it in UTF-8, and set "
            "LC_ALL=C.UTF-8 or another of UTF-8",
            2,
        )
    except Exception as error:
        _exit_with_storage_error(error)
        raise  # an error of ours: its traceback is wanted
    if status == INTERRUPTED_STATUS:  # what typer makes of Ctrl-C
        _exit_with("interrupted", INTERRUPTED_STATUS)
    sys.exit(status)


def _value_in(error: Exception) -> str:
    """Return the value that an option did not take: typer's message leaves it out."""
    if not isinstance(error.__cause__, ValidationError):
        return ""
    value = error.__cause__.errors()[0]["input"]
    advice = ""
    if str(value).startswith("tcp://"):
        advice = (
            "; Kubernetes sets it for a Service named tuner: name that another way, or set "
            "enableServiceLinks: false"
        )
    return f" (given: {value!r}{advice})"


def _exit_with_storage_error(error: Exception) -> None:
    """Exit if this is the storage's or the database's error, or one of what stands in it; those are
    imported only now.
    """
    from storage import BadUrlError, CopyError, StorageError, explain_damage, explain_database_error

    if isinstance(error, StorageError):
        _exit_with(str(error), 2 if isinstance(error, BadUrlError | CopyError) else 1)
    if (explanation := explain_database_error(error)) is not None:
        _exit_with(explanation, 1)
    url = options.storage_in_use.get()
    if url is not None and (damage := explain_damage(url)) is not None:
        _exit_with(damage, 1)


def _exit_with(message: str, status: int) -> None:
    if message:  # there is none when typer has shown the help instead
        level = logging.INFO if status == INTERRUPTED_STATUS else logging.ERROR
        say_end(" ".join(message.split()), level)
    sys.exit(status)


def _show_version(value: bool) -> None:  # noqa: FBT001 (typer's callback)
    if value:
        from importlib.metadata import version

        print(f"tuner {version('lambda-tuner')}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    server: service_options.Server = None,
    token: service_options.Token = None,
    token_file: service_options.TokenFile = None,
    insecure: service_options.Insecure = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    set_up_logging(logging.INFO)
    note_server(context, server, token, token_file, insecure=insecure)


@app.command(epilog="Example: tuner run --dataset digits --study digits --trials 20 --workers 2")
@spec_options.with_spec_options()
@brake_options.with_brake_options
@worker_options.with_worker_options
@engine_options.with_engine_options
@options.with_study
def run(
    context: typer.Context,
    storage: str,
    study: str,
    trials: options.Trials = None,
    timeout: options.Timeout = None,
    max_retries: options.MaxRetries = None,
    warm_start: options.WarmStart = None,
    confirm: answer_options.Confirm = True,
    seeds: answer_options.Seeds = None,
    workers: options.Workers = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Find the best λ: create or resume the study, train it with local workers, confirm λ on fresh
    seeds, write the export.

    Ctrl-C gives running trials back; the same command resumes the study.
    """
    leaving = Leaving()
    # From here on: a KeyboardInterrupt in the middle of an import can be lost.
    with leaving.listening(), about(study=study):
        spec_options.check_new_study(storage, context)
        from tuner.report import progress_console
        from tuner.run import RunRequest, run_study, summary

        level = logging.INFO if verbose else logging.WARNING
        set_level(level)
        request = RunRequest(
            worker=worker_options.read_config(
                context, study, log_level=level, engine=engine_options.read_choice(context)
            ),
            options=spec_options.given(context),
            n_trials=trials,
            timeout_seconds=timeout,
            max_retries=max_retries,
            brakes=brake_options.given(context),
            warm_start=warm_start,
            n_workers=workers,
            output=output,
            n_seeds=seeds,
            confirms=confirm,
        )
        result = run_study(request, progress_console(), leaving)
    tell(_run_json(result), summary(result, storage), as_json=as_json)
    if result.problem is not None:
        raise StudyFailedError(result.problem)


@app.command(epilog="Example: tuner create --trials 200 --storage postgresql://user@host/tuner")
@spec_options.with_spec_options()
@brake_options.with_brake_options
@options.with_study
def create(
    context: typer.Context,
    storage: str,
    study: str,
    trials: options.Trials = None,
    timeout: options.Timeout = None,
    max_retries: options.MaxRetries = None,
    priority: options.Priority = None,
    warm_start: options.WarmStart = None,
    confirm: answer_options.Confirm = True,
    as_json: options.Json = False,
) -> None:
    """Store a study's spec and budget for workers to join; train nothing.

    Workers of all studies (`tuner worker` without --study) confirm λ once its search is over.
    """
    if (remote := find_remote(context)) is not None:
        check_name_and_budget(study, trials)
        wish: dict[str, Any] = {
            "spec": spec_options.given_to_service(context),
            "n_trials": trials,
            "timeout_seconds": timeout,
        }
        wish |= {"max_retries": max_retries, "priority": priority}
        wish |= {"brakes": brake_options.given(context), "confirm": confirm}
        wish |= {"warm_start": warm_start}
        created = remote.with_storage(remote.create(study, wish))
        progress = _progress(study, created["n_finished"], created["n_trials"])
        tell(created, progress, as_json=as_json)
        return
    from storage import create_storage
    from tuner.confirmation.wish import ask_once
    from tuner.report import follow_up, load_status
    from tuner.study import create_or_resume
    from tuner.workers.jobs import look_at_new

    spec_options.check_new_study(storage, context)
    wished = look_at_new(storage, study, spec_options.given(context))
    loaded = create_or_resume(
        create_storage(storage),
        study,
        wished,
        n_trials=trials,
        timeout_seconds=timeout,
        max_retries=max_retries,
        priority=priority,
        brakes=brake_options.given(context),
        warm_start=warm_start,
    )
    if confirm:
        ask_once(loaded)
    status = load_status(loaded)
    tell(
        {**asdict(status), "spec": loaded.spec.model_dump(mode="json")},
        _progress(study, status.n_finished, status.n_trials),
        f"Workers join with: {follow_up('worker', storage)} --study {shlex.quote(study)}",
        as_json=as_json,
    )


def _progress(study: str, n_finished: int, n_trials: int) -> str:
    return f"Study {study!r}: {n_finished} of {n_trials} trials finished"


app.command(epilog="Example: tuner confirm --study simplenet-mnist --workers 2")(confirm)
app.command(epilog="Example: tuner worker --storage postgresql://user@host/tuner --study NAME")(
    worker
)


@app.command(epilog="Example: tuner status --study simplenet-mnist --json")
@options.with_study
def status(context: typer.Context, storage: str, study: str, as_json: options.Json = False) -> None:
    """Show a study's progress, best trial, workers and ETA."""
    from tuner.report import StudyStatus, load_status, result_console, status_table
    from tuner.selection import find_confirmation
    from tuner.story import tell_confirmation
    from tuner.study import load_study_to_read

    confirmation = None
    if (remote := find_remote(context)) is not None:
        found = StudyStatus(**remote.load_status(study))
    else:
        loaded = load_study_to_read(storage, study)
        found, confirmation = load_status(loaded), find_confirmation(loaded)
    if as_json:
        print(to_json(asdict(found)))
        return
    result_console().print(status_table(found))
    if confirmation is not None:
        show("\n".join(tell_confirmation(confirmation)))


@app.command(epilog="Example: tuner trials --json")
@options.with_study
def trials(context: typer.Context, storage: str, study: str, as_json: options.Json = False) -> None:
    """List a study's trials, one row each."""
    from tuner.report import list_trials, result_console, trials_table
    from tuner.study import load_study_to_read

    if (remote := find_remote(context)) is not None:
        rows = remote.list_trials(study)
    else:
        rows = list_trials(load_study_to_read(storage, study))
    if as_json:
        print(to_json(rows))
    else:
        result_console().print(trials_table(rows))


app.command(epilog="Example: tuner check --objective churn.py:problem")(check)
app.command(epilog="Example: tuner path --study digits --format png")(path)
app.command(epilog="Example: tuner export --format toml --output best_lambda.toml")(export)
add_state_commands(app)
app.command(epilog="Example: tuner train --weight-decay 1e-4 --lr 0.3 --epochs 3")(train)
app.command(epilog="Example: tuner dashboard --port 8081")(dashboard)
app.command(epilog="Example: tuner serve --host 0.0.0.0 --trusted-proxy 10.0.0.7")(serve)


def _run_json(result: "RunResult") -> dict[str, Any]:
    return {
        **asdict(result.status),
        "best": result.best,
        "confirmation": result.confirmation and result.confirmation.model_dump(mode="json"),
        "output": str(result.output),
        "seconds": round(result.seconds, 3),
    }
