"""Have a study trained: by a crew that is this very process, or by those that an engine places."""

import importlib
import time

from storage import Budget
from tuner.errors import UsageError, WorkersFailedError
from tuner.report import show_progress
from tuner.workers.engine_choice import ENGINES, LOCAL, EngineChoice
from tuner.workers.launchers.engine import Engine, EngineStatus
from tuner.workers.local import StudyRun, train_locally

_TICK_SECONDS = 0.2
_BUDGET_SECONDS = 1.0
# Crews obey within three seconds; nodes are asked all at once.
_STOP_SECONDS = 10.0


def train_study(run: StudyRun) -> None:
    """Train until the budget is spent or the study is stopped, where ``run.config.engine`` says.

    Raises as `run_worker` does, UsageError for an engine that cannot work here, and Interrupted
    when asked to leave.
    """
    while True:
        _train_until_crews_end(run)
        budget = run.config.retry(run.leaving).call("read the budget", run.loaded.load_budget)
        # Somebody else, say a second confirmation, may have granted more since they saw it spent.
        if budget.is_spent or budget.is_past_deadline or budget.state == "stopped":
            return


def _train_until_crews_end(run: StudyRun) -> None:
    choice = run.config.engine
    if choice is None or choice.name == LOCAL:
        train_locally(run)
        return
    engine = make_engine(choice)
    with run.leaving.listening():
        try:
            engine.start(run.config, run.n_workers)
            with run.leaving.listening():  # Ray has taken SIGTERM for itself
                _watch(engine, run)
        finally:
            engine.stop(_STOP_SECONDS)


def make_engine(choice: EngineChoice) -> Engine:
    """Return the engine of this name; raises UsageError if what it needs is not installed."""
    module, _, name = ENGINES[choice.name].partition(":")
    try:
        engine: Engine = getattr(importlib.import_module(module), name)(choice)
    except ImportError as error:
        raise UsageError(
            f"--engine {choice.name} is not installed: pip install 'lambda-tuner[{choice.name}]'"
        ) from error
    return engine


def _watch(engine: Engine, run: StudyRun) -> None:
    """Show how far the study is until its crews have ended, or nothing is left to do for them.

    Crews end well when they see the budget spent; before ``run.on_tick`` grants more, perhaps.
    """
    loaded, console = run.loaded, run.console
    retry = run.config.retry(run.leaving)
    looked_at, has_waited = float("-inf"), False
    with show_progress(loaded, console) as show:
        while True:
            run.leaving.check()
            status = engine.poll()
            if status.n_crews == 0 or time.monotonic() - looked_at >= _BUDGET_SECONDS:
                looked_at = time.monotonic()
                budget = retry.call("read the budget", loaded.load_budget)
                if _is_over(budget, status):
                    return
                if status.n_crews == 0 and not has_waited:
                    has_waited = True
                    console.print("Waiting for nodes with free CPUs", highlight=False)
            retry.attempt(lambda: show(loaded), None)
            retry.attempt(lambda: run.on_tick(loaded), None)
            time.sleep(_TICK_SECONDS)


def _is_over(budget: Budget, status: EngineStatus) -> bool:
    """Tell whether nobody trains any more; raises WorkersFailedError if nobody can."""
    if budget.is_spent:
        return True
    if status.n_crews > 0:
        return False
    if status.problem is not None:
        raise WorkersFailedError(status.problem)
    return budget.is_past_deadline or budget.state == "stopped" or status.n_ended > 0
