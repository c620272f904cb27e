"""Who is let in while the database is away: those whom it let in, as long as it says no other."""

import asyncio

import pytest
from starlette.types import Scope

from storage import Role, UnreachableError
from tuner.server.auth import BadCredentialsError, Principal
from tuner.server.recall import Recall

_SCOPE: Scope = {"type": "http", "headers": [(b"authorization", b"Bearer tuner_known")]}
_PROGRAM = Principal("prometheus", Role.VIEWER, "token")


class _Database:
    """Knows a token until it is revoked; answers at once, or when it is let go."""

    def __init__(self) -> None:
        self.is_revoked = False
        self.n_waiting = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def identify(self, _scope: Scope) -> Principal | None:
        self.n_waiting += 1
        try:
            await self.answers.wait()
        finally:
            self.n_waiting -= 1
        if self.is_revoked:
            raise BadCredentialsError("revoked")
        return _PROGRAM


def test_token_that_a_slow_database_refuses_is_let_in_no_more() -> None:
    """However late it says so: else a revoked token would read for an hour."""

    async def ask() -> None:
        database = _Database()
        recall = Recall(database.identify, patience_seconds=0.01)
        assert await recall.identify(_SCOPE) == _PROGRAM
        database.answers.clear()
        database.is_revoked = True
        assert await recall.identify(_SCOPE) == _PROGRAM
        database.answers.set()
        await asyncio.sleep(0.05)
        database.answers.clear()
        with pytest.raises(UnreachableError):
            await recall.identify(_SCOPE)

    asyncio.run(ask())


def test_strangers_leave_nothing_behind_while_the_database_hangs() -> None:
    """What is asked for them ends with their answer."""

    async def ask() -> int:
        database = _Database()
        database.answers.clear()
        recall = Recall(database.identify, patience_seconds=0.01)
        asked = await asyncio.gather(
            *(recall.identify(_SCOPE) for _ in range(20)), return_exceptions=True
        )
        assert {type(error) for error in asked} == {UnreachableError}
        await asyncio.sleep(0)
        return database.n_waiting

    assert asyncio.run(ask()) == 0
