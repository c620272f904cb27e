"""Studies as this process has loaded them, and what many ask of them at once, asked once.

A loaded study keeps its finished trials, so that looking again reads only what is new. Answers
are as old as `_FRESH_SECONDS` at most, and never older than a write through this process.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from fastapi.concurrency import run_in_threadpool
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Engine

from storage import StudyRecord, find_study, only_reading
from tuner.answer.best import Rule
from tuner.answer.document import Document
from tuner.answer.record import current_answer
from tuner.errors import StudyNotFoundError
from tuner.foreign import explain_lost_budget
from tuner.report import load_status
from tuner.spec import CONFIRM_SUFFIX
from tuner.study import SPEC, SPEC_HASH, LoadedStudy, load_study

T = TypeVar("T")

_FRESH_SECONDS = 0.5
# A loaded study of 2,000 trials holds some megabytes.
_MOST_LOADED = 32
_MOST_ANSWERS = 256


class Catalog:
    """Finds studies by name; one for a process, shared by threads."""

    def __init__(self, storage: RDBStorage, shown: BaseStorage) -> None:
        """``shown`` is what the dashboard looks at, so that it sees deletions."""
        self.storage = storage
        self._shown = shown
        self._loaded: dict[tuple[str, int, float | None], LoadedStudy] = {}
        self._lock = threading.Lock()

    @property
    def engine(self) -> Engine:
        """The database."""
        return self.storage.engine

    def find(self, name: str) -> StudyRecord:
        """Return a study's record; raises StudyNotFoundError, without telling which names there
        are, but how to mend one that has lost its budget.
        """
        record = find_study(self.engine, name)
        if record is not None:
            return record
        with only_reading():
            try:
                study_id = self.storage.get_study_id_from_name(name)
                is_ours = SPEC in self.storage.get_study_user_attrs(study_id)
            except KeyError:
                is_ours = False
        raise StudyNotFoundError(
            explain_lost_budget(name) if is_ours else f"There is no study {name!r}"
        )

    def get(self, name: str) -> LoadedStudy:
        """Return a study; raises StudyNotFoundError as `find` does."""
        record = self.find(name)
        # SQLite gives the id of a deleted study to the next one.
        key = (name, record.study_id, record.created_at)
        with self._lock:
            found = self._loaded.pop(key, None)
            if found is not None:
                self._loaded[key] = found  # now the last to go
        if found is not None and not self._is_outdated(found):
            return found
        with only_reading():
            found = _load(self.storage, name)
        with self._lock:
            self._loaded[key] = found
            for old in [k for k in self._loaded if k[0] == name and k != key]:
                del self._loaded[old]
            while len(self._loaded) > _MOST_LOADED:
                del self._loaded[next(iter(self._loaded))]
        return found

    def _is_outdated(self, loaded: LoadedStudy) -> bool:
        """Tell whether workers have found that a study's objective, taken for a function, is a
        problem."""
        if not loaded.spec.is_function:
            return False
        try:
            with only_reading():
                stored = self.storage.get_study_user_attrs(loaded.study_id)
        except KeyError:  # deleted this moment
            return True
        return bool(stored.get(SPEC_HASH) != loaded.spec.hash)

    def delete(self, name: str) -> None:
        """Delete a study; raises StudyNotFoundError."""
        record = find_study(self.engine, name)
        try:
            if record is None:
                raise KeyError
            self._shown.delete_study(record.study_id)
        except KeyError as error:
            raise StudyNotFoundError(f"There is no study {name!r}") from error

    def load_status(self, name: str) -> dict[str, Any]:
        """Return a study's progress as plain data; raises StudyNotFoundError."""
        loaded = self.get(name)
        with only_reading():
            try:
                status = asdict(load_status(loaded))
            except KeyError as error:
                raise StudyNotFoundError(f"There is no study {name!r}") from error
        del status["storage"]  # where the database is, is nobody's business
        return status

    def load_answer(self, name: str, rule: Rule | None) -> Document:
        """Return a study's answer; raises StudyNotFoundError, NoResultError."""
        loaded = self.get(name)
        with only_reading():
            try:
                return current_answer(loaded, rule)
            except KeyError as error:
                if find_study(self.engine, name) is None:
                    raise StudyNotFoundError(f"There is no study {name!r}") from error
                raise


def _load(storage: RDBStorage, name: str) -> LoadedStudy:
    try:
        return load_study(storage, name)
    except KeyError as error:
        raise StudyNotFoundError(f"There is no study {name!r}, or not yet") from error


class SharedAnswers:
    """Works out once what many ask for at the same time; belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: dict[tuple[str, ...], tuple[float, Any]] = {}
        self._running: dict[tuple[str, ...], asyncio.Task[Any]] = {}

    async def get(self, key: tuple[str, ...], load: Callable[[], T]) -> T:
        """Return what ``load`` returns, or has returned for this key just now.

        The key begins with a study's name. What ``load`` raises is raised, and not kept.
        """
        if (kept := self._answers.get(key)) is not None and kept[0] > self._clock():
            answer: T = kept[1]
            return answer
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(run_in_threadpool(load))
            self._running[key] = task
            task.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(task)  # others wait for it too

    def forget(self, name: str) -> None:
        """Answer anew from now on what is asked of this study; safe from any thread.

        Of the study that it confirms too, whose status tells of it.
        """
        names = (name, name.removesuffix(CONFIRM_SUFFIX))
        for known in (self._answers, self._running):
            for key in [key for key in list(known) if key[0] in names]:
                known.pop(key, None)

    def _keep(self, key: tuple[str, ...], done: asyncio.Task[Any]) -> None:
        if self._running.get(key) is not done:
            return  # forgotten meanwhile
        del self._running[key]
        if done.cancelled() or done.exception() is not None:
            return
        now = self._clock()
        if len(self._answers) >= _MOST_ANSWERS:
            for old in [k for k, (until, _) in list(self._answers.items()) if until <= now]:
                self._answers.pop(old, None)
        self._answers[key] = (now + _FRESH_SECONDS, done.result())
