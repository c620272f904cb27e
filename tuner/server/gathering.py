"""Look many things up at once: what is asked while one look-up is under way shares the next."""

import asyncio
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Databases limit the parameters of a statement; SQLite before 3.32 to 999.
_MOST_AT_ONCE = 500


class Gathered(Generic[K, V]):
    """Hands questions on by the list, one list at a time; belongs to one event loop.

    Nothing is kept: each question is answered by what is read after it was asked. A hundred that
    come at once cost two look-ups, one that comes alone costs one.
    """

    def __init__(self, look_up: Callable[[Sequence[K]], Mapping[K, V]]) -> None:
        """``look_up`` is called in a thread, and leaves out what it has not found."""
        self._look_up = look_up
        self._waiting: dict[asyncio.Future[V | None], K] = {}
        self._task: asyncio.Task[None] | None = None

    async def find(self, key: K) -> V | None:
        """Return what is found for a key, or None; raises what the look-up raises."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = key
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        try:
            return await answer
        finally:
            self._waiting.pop(answer, None)  # who gave up leaves nothing behind

    async def _work(self) -> None:
        try:
            while self._waiting:
                asked = dict(itertools.islice(self._waiting.items(), _MOST_AT_ONCE))
                for answer in asked:
                    del self._waiting[answer]
                await self._answer(asked)
        finally:
            self._task = None

    async def _answer(self, asked: Mapping[asyncio.Future[V | None], K]) -> None:
        try:
            found = await run_in_threadpool(self._look_up, list(set(asked.values())))
        except Exception as error:  # noqa: BLE001 (raised where it was asked)
            for answer in asked:
                if not answer.done():  # done: who asked has gone meanwhile
                    answer.set_exception(error)
            return
        for answer, key in asked.items():
            if not answer.done():
                answer.set_result(found.get(key))
