"""The main job: create or resume a study, run local workers, select λ, write the export."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from storage import create_storage, set_study_state
from tuner.answer.document import Document
from tuner.answer.export import check_writable, render, write_file
from tuner.answer.record import publish
from tuner.confirmation.confirm import (
    ConfirmRequest,
    confirm_study,
    find_reason_against,
)
from tuner.confirmation.values import Confirmation
from tuner.errors import NoResultError
from tuner.models_folder import temporary_models
from tuner.report import (
    StudyStatus,
    follow_up,
    format_seconds,
    format_value,
    load_status,
    states_text,
)
from tuner.selection import get_best_trial, measure_test_accuracy
from tuner.story import name_test, tell_confirmation
from tuner.study import LoadedStudy, create_or_resume, load_study
from tuner.workers.config import WorkerConfig
from tuner.workers.jobs import look_at_new
from tuner.workers.launchers.launch import train_study
from tuner.workers.local import StudyRun
from tuner.workers.shutdown import Leaving


@dataclass(frozen=True)
class RunRequest:
    """What `tuner run` was asked for; ``options`` are those of the spec that were given."""

    worker: WorkerConfig
    options: Mapping[str, Any]
    n_trials: int | None
    timeout_seconds: float | None
    max_retries: int | None
    brakes: Mapping[str, Any]
    warm_start: str | None  # the study whose trials teach this one's sampler
    n_workers: int | None
    output: Path | None  # where the answer is written to
    n_seeds: int | None  # of the confirmation
    confirms: bool


@dataclass(frozen=True)
class RunResult:
    """What came of it: the study's end, the answer, and the file it was written to.

    Without a confirmation, ``unconfirmed`` says why, unless nobody wanted one.
    """

    status: StudyStatus
    best: Document
    confirmation: Confirmation | None
    unconfirmed: str | None
    output: Path | None
    seconds: float
    was_finished_before: bool

    @property
    def problem(self) -> str | None:
        """Say that most trials have failed, if they have: then the answer is that of a few."""
        n_failed = self.status.states.get("FAIL", 0)
        if 2 * n_failed <= self.status.n_finished:
            return None
        return (
            f"{n_failed} of {self.status.n_finished} trials have failed: `tuner trials --study "
            f"{self.status.study}` tells why"
        )


def run_study(request: RunRequest, console: Console, leaving: Leaving) -> RunResult:
    """Finish the study's budget and export its best λ; progress goes to ``console``.

    Raises Interrupted when asked to leave; the study then resumes with the next call.
    """
    started = time.monotonic()
    if request.output is not None:
        check_writable(request.output)
    url, name = request.worker.storage_url, request.worker.study_name
    options = look_at_new(url, name, request.options, leaving.check)
    leaving.check()
    storage = create_storage(url)
    loaded = create_or_resume(
        storage,
        name,
        options,
        n_trials=request.n_trials,
        timeout_seconds=request.timeout_seconds,
        max_retries=request.max_retries,
        brakes=request.brakes,
        warm_start=request.warm_start,
    )
    was_finished_before = loaded.load_budget().is_spent
    retry = request.worker.retry(leaving)
    leaving.check()
    confirmation, unconfirmed = None, None
    with temporary_models() as models_dir:
        config = replace(request.worker, models_dir=models_dir)
        if not was_finished_before:
            set_study_state(storage.engine, loaded.study_id, "open")  # it may be paused or stopped
            train_study(StudyRun(loaded, config, request.n_workers, console, leaving))
            # Anew: workers may have found it to be a problem's, or the database may have gone back.
            loaded = retry.call("load the study", lambda: load_study(storage, name))
        if request.confirms:
            confirmation, unconfirmed = _confirm(loaded, request, console, leaving)
        if confirmation is None:
            _score_best(loaded, config, console, leaving)
    document = retry.call("record the answer", lambda: publish(loaded).document)
    if request.output is not None:
        write_file(request.output, render(document, "json"))
    return RunResult(
        retry.call("read the study", lambda: load_status(loaded)),
        document,
        confirmation,
        unconfirmed,
        request.output,
        time.monotonic() - started,
        was_finished_before,
    )


def _confirm(
    loaded: LoadedStudy, request: RunRequest, console: Console, leaving: Leaving
) -> tuple[Confirmation | None, str | None]:
    """Return the confirmation, or why there is none."""
    retry = request.worker.retry(leaving)
    reason = retry.call("read the study", lambda: _find_reason_against(loaded))
    if reason is not None:
        return None, reason
    confirming = ConfirmRequest(request.worker, request.n_workers, request.n_seeds)
    try:
        return confirm_study(confirming, console, leaving), None
    except NoResultError as error:
        return None, str(error)


def _find_reason_against(loaded: LoadedStudy) -> str | None:
    """Tell why a search is not confirmed; raises NoResultError if it has no complete trial."""
    get_best_trial(loaded)
    if loaded.load_budget().state == "stopped":
        return "the search was stopped"
    return find_reason_against(loaded) if not loaded.spec.facts.can_train_again else None


def _score_best(
    loaded: LoadedStudy, config: WorkerConfig, console: Console, leaving: Leaving
) -> None:
    if loaded.spec.facts.can_train_again:
        with console.status("Scoring the best trial on the test set"):
            measure_test_accuracy(loaded, config, leaving)


def summary(result: RunResult, storage_url: str) -> str:
    """Return what came of it in a few lines for people; the URL's password is masked."""
    status, evidence = result.status, result.best["evidence"]
    done = f"{status.n_finished} of {status.n_trials} trials"
    if result.was_finished_before:
        extension = f"--trials {status.n_trials + 30} extends it"
        headline = f"is finished already: {done} ({states_text(status)}); {extension}"
    else:
        how = "was stopped: " if status.state == "stopped" else ""
        seconds = format_seconds(result.seconds)
        headline = f"{how}{done} finished ({states_text(status)}) in {seconds}"
    assert status.best is not None  # or there would be no answer
    facts = {"Best trial": status.best["trial"], **status.best["params"]}
    facts[evidence["metric"]] = status.best["value"]
    if evidence["test_accuracy"] is not None and result.confirmation is None:
        facts[name_test(evidence["metric"])] = evidence["test_accuracy"]
    lines = [f"Study {status.study} {headline}"]
    lines += [f"  {name:<20} {format_value(value)}" for name, value in facts.items()]
    if result.confirmation is not None:
        lines += tell_confirmation(result.confirmation, evidence)
    elif result.unconfirmed is not None:
        lines.append(f"  Not confirmed: {result.unconfirmed}")
    if evidence["edge"] and result.confirmation is None:
        lines.append(f"  λ lies at the {evidence['edge']} end of its range: consider widening it")
    return "\n".join(
        [
            *lines,
            f"Written to {result.output}",
            f"See the study with: {follow_up('dashboard', storage_url)}",
        ]
    )
