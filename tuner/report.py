"""Progress, tables and messages for people; the same facts as plain data for programs."""

import contextlib
import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from storage import GIVEN_BACK, find_study, is_given_back, list_workers, mask_url
from tuner.confirmation.wish import find_wish
from tuner.logs import is_json
from tuner.plain import visible
from tuner.selection import find_best_trial
from tuner.strict_json import write_params
from tuner.study import PROGRAM, WHY_NOT, LoadedStudy, confirmation_name

_LIVE_SECONDS = 0.5
# Without a terminal (CI, a log file) a line now and then is enough.
_PLAIN_SECONDS = 5.0


class _VisibleConsole(Console):
    """Styles of ours reach the terminal, and nothing that somebody has put into a name."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, as it may be shown."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def result_console() -> Console:
    """Return the console for tables on stdout; piped ones keep whole lines.

    Cutting them to 80 columns would lose data.
    """
    width = None if sys.stdout.isatty() else 200
    return _VisibleConsole(width=width, markup=False, highlight=False)


def progress_console() -> Console:
    """Return the console for progress on stderr: a live display is nothing for JSON lines."""
    is_terminal = False if is_json() else None
    return _VisibleConsole(stderr=True, markup=False, force_terminal=is_terminal)


@dataclass(frozen=True)
class StudyStatus:
    """A study's progress at one moment; ``states`` leaves out trials that were given back.

    ``confirmation`` is what has become of the wish for one, ``confirmation_study`` how far the
    study of its fresh seeds is; None if there is none. ``program`` tells how the worker that came
    last trains its trials, ``why_not`` what kept it from that.
    """

    study: str
    storage: str
    state: str
    priority: int
    n_trials: int
    n_finished: int
    n_given_back: int
    states: dict[str, int]
    best: dict[str, Any] | None
    workers: list[dict[str, Any]]
    eta_seconds: float | None
    is_spent: bool
    confirmation: dict[str, Any] | None = None
    confirmation_study: dict[str, Any] | None = None
    program: str | None = None
    why_not: str | None = None


def load_status(loaded: LoadedStudy) -> StudyStatus:
    """Read a study's progress; one query for what finished since the last call, and three more."""
    budget = loaded.load_budget()  # first: it tells a deleted study
    trials = loaded.study.get_trials(deepcopy=False)
    counted = Counter(t.state.name for t in trials if not is_given_back(t))
    own = loaded.own(trials)
    best = find_best_trial(own, loaded.spec.direction)
    attrs = loaded.study.user_attrs
    wish = find_wish(attrs)
    return StudyStatus(
        study=loaded.name,
        storage=mask_url(loaded.storage.url),
        state=budget.state,
        priority=budget.priority,
        n_trials=budget.n_trials,
        n_finished=budget.n_finished,
        n_given_back=sum(map(is_given_back, trials)),
        states={state.name: counted[state.name] for state in TrialState if counted[state.name]},
        best=None
        if best is None
        else {"trial": best.number, "value": best.value, "params": write_params(best.params)},
        workers=[asdict(worker) for worker in list_workers(loaded.storage.engine, loaded.study_id)],
        eta_seconds=_eta(own, budget.n_trials - budget.n_finished, budget.n_leased),
        is_spent=budget.is_spent,
        confirmation=None if wish is None else wish.tell(budget.n_finished),
        confirmation_study=_load_confirmation(loaded, trials),
        program=attrs.get(PROGRAM),
        why_not=attrs.get(WHY_NOT),
    )


def _load_confirmation(loaded: LoadedStudy, trials: list[FrozenTrial]) -> dict[str, Any] | None:
    """Return how far the confirmation is; its trials are as long as the search's complete ones."""
    if loaded.spec.confirms is not None:
        return None
    record = find_study(loaded.storage.engine, confirmation_name(loaded.name))
    if record is None:
        return None
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return {
        "study": record.name,
        "state": record.state,
        "n_trials": record.n_trials,
        "n_finished": record.n_finished,
        "n_in_training": record.n_leased,
        "eta_seconds": _eta(complete, record.n_trials - record.n_finished, record.n_leased),
    }


def _eta(trials: list[FrozenTrial], n_open: int, n_in_training: int) -> float | None:
    """Extrapolate from the trials that finished; None before the first, or if nobody trains."""
    if n_open <= 0:
        return 0.0
    if n_in_training == 0:
        return None
    durations = [
        t.duration.total_seconds()
        for t in trials
        if t.duration is not None and not is_given_back(t)
    ]
    if not durations:
        return None
    return n_open * sum(durations) / len(durations) / n_in_training


def list_trials(loaded: LoadedStudy) -> list[dict[str, Any]]:
    """Return one row a trial, by number; ``epochs`` is how many were reported.

    The note of one that another program has put into the study is ``imported``.
    """
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "value": trial.value if trial.state.is_finished() else None,
            "params": write_params(trial.params),
            "epochs": len(trial.intermediate_values),
            "started_at": _utc(trial.datetime_start),
            "seconds": None if trial.duration is None else trial.duration.total_seconds(),
            "worker": trial.user_attrs.get("worker"),
            "note": trial_note(trial.user_attrs, is_given_back=is_given_back(trial))
            or ("imported" if trial.state.is_finished() and not loaded.own([trial]) else None),
        }
        for trial in loaded.study.get_trials(deepcopy=False)
    ]


def trial_note(attrs: Mapping[str, Any], *, is_given_back: bool) -> str | None:
    """Return what is odd about a trial with these user attributes; None if nothing is."""
    if is_given_back:
        return f"given back: {attrs[GIVEN_BACK]}"
    if "rerun_of" in attrs:
        return f"rerun of trial {attrs['rerun_of']}"
    return "diverged" if attrs.get("diverged") else attrs.get("error")


def _utc(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC; Optuna 5 hands out naive local times."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def status_table(status: StudyStatus) -> RenderableType:
    """Return a study's status for a terminal."""
    table = Table.grid(padding=(0, 2))
    table.add_row("Study", status.study)
    table.add_row("Storage", status.storage)
    table.add_row("State", status.state)
    table.add_row("Trials", f"{status.n_finished} of {status.n_trials} finished")
    table.add_row("States", states_text(status))
    table.add_row("Best", _best(status))
    table.add_row("ETA", format_seconds(status.eta_seconds))
    if status.program is not None:
        table.add_row("Program", status.program)
    if status.why_not is not None:
        table.add_row("Not trained", status.why_not)
    if status.confirmation is not None or status.confirmation_study is not None:
        told = _tell_confirmation(status.confirmation, status.confirmation_study)
        table.add_row("Confirmation", told)
    for worker in status.workers:
        state = "lost" if worker["is_lost"] else f"{worker['n_trials_in_training']} in training"
        lanes = f"{worker['n_lanes']} lane" + ("s" if worker["n_lanes"] > 1 else "")
        seen = datetime.fromtimestamp(worker["seen_at"], UTC).isoformat(" ", "seconds")
        # Containers may have one host name and equal process ids; a worker's own id has no other.
        table.add_row(
            f"Worker {worker['worker_id']}",
            f"{worker['host']}:{worker['pid']}  {state}, {lanes}, last seen {seen}",
        )
    return table


def trials_table(rows: list[dict[str, Any]]) -> Table:
    """Return the trials for a terminal."""
    names = sorted({name for row in rows for name in row["params"]}, reverse=True)
    table = Table(
        "trial", "state", "value", *names, "epochs", "seconds", "worker", "note", box=None
    )
    for row in rows:
        params = [format_value(row["params"].get(name)) for name in names]
        table.add_row(
            str(row["number"]),
            row["state"],
            format_value(row["value"]),
            *params,
            str(row["epochs"]),
            "" if row["seconds"] is None else f"{row['seconds']:.1f}",
            row["worker"] or "",
            row["note"] or "",
        )
    return table


def _tell_confirmation(wish: Mapping[str, Any] | None, study: Mapping[str, Any] | None) -> str:
    parts = [] if wish is None else [": ".join(filter(None, (wish["state"], wish["why_not"])))]
    return "; ".join(parts if study is None else [*parts, _tell_trials(study)])


def _tell_trials(confirmation: Mapping[str, Any]) -> str:
    told = f"{confirmation['n_finished']} of {confirmation['n_trials']} trials finished"
    if confirmation["n_finished"] < confirmation["n_trials"]:
        eta = format_seconds(confirmation["eta_seconds"])
        training = f"{confirmation['n_in_training']} in training, ETA {eta}"
        told += f", {training if confirmation['state'] == 'open' else confirmation['state']}"
    return f"{told} (study {confirmation['study']})"


@contextlib.contextmanager
def show_progress(loaded: LoadedStudy, console: Console) -> Iterator[Callable[[LoadedStudy], None]]:
    """Show a study's progress while workers train; yields a function to call again and again.

    A live display on a terminal, else a line whenever something changed. No thread is involved,
    since the caller starts processes.
    """
    seconds = _LIVE_SECONDS if console.is_terminal else _PLAIN_SECONDS
    with contextlib.ExitStack() as stack:
        if console.is_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
        shown_at, shown = -seconds, None

        def update(view: LoadedStudy, *, is_last: bool = False) -> None:
            nonlocal shown_at, shown
            if time.monotonic() - shown_at < seconds and not is_last:
                return
            shown_at = time.monotonic()
            status = load_status(view)
            if console.is_terminal:
                live.update(_progress_panel(status), refresh=True)
            elif status.n_finished != shown:
                console.print(_progress_line(status), soft_wrap=True, highlight=False)
            shown = status.n_finished

        yield update
        update(loaded, is_last=True)


def _progress_line(status: StudyStatus) -> str:
    return (
        f"{status.n_finished}/{status.n_trials} finished ({states_text(status)}), "
        f"best {_best(status)}, ETA {format_seconds(status.eta_seconds)}"
    )


def _progress_panel(status: StudyStatus) -> RenderableType:
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=status.n_trials, completed=status.n_finished, width=40),
        f"{status.n_finished}/{status.n_trials} finished",
        f"ETA {format_seconds(status.eta_seconds)}",
    )
    return Group(bar, Text(f"  {states_text(status)}"), Text(f"  best {_best(status)}"))


def states_text(status: StudyStatus) -> str:
    """Return e.g. ``12 COMPLETE, 8 PRUNED``."""
    parts = [f"{n} {state}" for state, n in status.states.items()]
    if status.n_given_back:
        parts.append(f"{status.n_given_back} given back")
    return ", ".join(parts) or "none yet"


def _best(status: StudyStatus) -> str:
    if status.best is None:
        return "none yet"
    params = ", ".join(f"{name} {format_value(v)}" for name, v in status.best["params"].items())
    value = status.best["value"]
    shown = f"{value:.4f}" if value is not None else "no finite value"  # JSON of a service has none
    return f"{shown} (trial {status.best['trial']}: {params})"


def format_value(value: object) -> str:
    """Return a number with four significant digits, anything else as it is, None as nothing."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def format_mean(mean: float | None, error: float | None) -> str:
    """Return a mean ± its standard error, both to the error's second digit."""
    if mean is None or not error or not math.isfinite(error):
        return format_value(mean)
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:.{decimals}f} ± {error:.{decimals}f}"


def format_seconds(seconds: float | None) -> str:
    """Return e.g. ``1h 02m``, ``3m 20s`` or ``12s``; ``unknown`` for None."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def follow_up(command: str, storage_url: str) -> str:
    """Return a command line that people can paste: a password stays in the environment."""
    masked = mask_url(storage_url)
    if "***" in masked:
        return f"TUNER_STORAGE=... tuner {command}"
    return f"tuner {command} --storage {shlex.quote(masked)}"
