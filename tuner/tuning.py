"""`tuner.tune`: a whole search from a script or a notebook.

Light to import: what it takes is imported when it is called.
"""

import logging
import threading
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.problem import Problem
from tuner.answer.best import Best
from tuner.errors import UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tuner.confirmation.values import Confirmation
    from tuner.study import LoadedStudy


@dataclass(frozen=True, repr=False)
class Tuned:
    """What came of a search: its answer, and where all of it is kept."""

    best: Best
    confirmation: "Confirmation | None"
    study: str
    storage: str

    def __repr__(self) -> str:
        """Return the answer in lines, as a notebook shows it."""
        from tuner.story import tell_answer

        return "\n".join([f"Study {self.study}", *tell_answer(self.best, self.confirmation)])

    def trials(self) -> Any:
        """Return the search's trials: a DataFrame if there is pandas, or a list of dicts."""
        from tuner.report import list_trials

        rows = list_trials(self._load())
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError:
            return rows
        return pd.json_normalize(rows)

    def figure(self) -> "go.Figure":
        """Return the picture of what was confirmed along λ, or else the map of the search."""
        from tuner.pictures.figures import draw
        from tuner.pictures.path import build_map, build_path

        loaded = self._load()
        if self.confirmation is None:
            return draw(None, build_map(loaded))["map"]
        return draw(build_path(loaded, self.confirmation), None)["path"]

    def _load(self) -> "LoadedStudy":
        from tuner.study import load_study_to_read

        return load_study_to_read(self.storage, self.study)


def tune(  # noqa: PLR0913 (keywords that may be left out)
    problem: Problem | Callable[..., Any] | str,
    *,
    study: str | None = None,
    trials: int | None = None,
    workers: int | None = None,
    storage: str = "sqlite:///tuner.db",
    confirm: bool = True,
    seeds: int | None = None,
    timeout: float | None = None,
    **options: Any,
) -> Tuned:
    """Search a problem's λ as `tuner run` does, and return the answer.

    ``problem`` is a ``Problem``, a function that makes one (or takes an Optuna trial), or the name
    of one, ``package.module:name``. What is in no module that workers could import, as in a
    notebook, is kept for them in the file ``STUDY.pickle`` here. ``study`` is a new one unless it
    is named; one that was interrupted goes on. ``trials`` is the budget (50), ``workers`` the
    number of processes that train (all that there is room for), ``seeds`` those of the
    confirmation, ``timeout`` in seconds, and ``options`` those of the study, as ``epochs=20`` or
    ``sampler="random"``. Raises TunerError, ObjectiveError and StorageError.
    """
    from tuner.answer.reading import read_document
    from tuner.report import progress_console
    from tuner.run import RunRequest, run_study
    from tuner.spec import check_name_and_budget
    from tuner.workers.config import WorkerConfig
    from tuner.workers.shutdown import Leaving

    study = study or f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    check_name_and_budget(study, trials)
    request = RunRequest(
        worker=WorkerConfig(storage, study, log_level=logging.WARNING),
        options={**options, "objective": _name_of(problem, study)},
        n_trials=trials,
        timeout_seconds=timeout,
        max_retries=None,
        brakes={},
        warm_start=None,
        n_workers=workers,
        output=None,
        n_seeds=seeds,
        confirms=confirm,
    )
    leaving = Leaving()
    is_main = threading.current_thread() is threading.main_thread()
    with leaving.listening() if is_main else nullcontext():
        result = run_study(request, progress_console(), leaving)
    return Tuned(read_document(result.best, study), result.confirmation, study, storage)


def _name_of(problem: Problem | Callable[..., Any] | str, study: str) -> str:
    """Return how workers find an objective: where it can be imported, or a file."""
    if isinstance(problem, str):
        return problem
    module, name = (getattr(problem, each, "") for each in ("__module__", "__qualname__"))
    if module not in ("", "__main__") and name.isidentifier():
        return f"{module}:{name}"
    if not (isinstance(problem, Problem) or callable(problem)):
        raise UsageError(f"tune: {problem!r} is no Problem, nor a function, nor the name of one")
    import cloudpickle  # type: ignore[import-untyped]

    file = Path(f"{study}.pickle")
    file.write_bytes(cloudpickle.dumps(problem))
    return f"{file}:problem"
