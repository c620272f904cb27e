"""Look-ups that are shared by those who ask at the same time, and never older than the question."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from storage import Role, create_token, list_tokens, revoke_token
from tests.tuner.conftest import wait_until
from tests.tuner.server.conftest import Served
from tuner.server.gathering import Gathered

_PATIENCE_SECONDS = 10


class _Register:
    """Names by number; a look-up reads at once, and returns when it is let go."""

    def __init__(self) -> None:
        self.names = {number: f"n{number}" for number in range(100)}
        self.asked: list[list[int]] = []
        self.has_read = threading.Event()
        self.may_return = threading.Event()

    def look_up(self, numbers: Sequence[int]) -> dict[int, str]:
        self.asked.append(sorted(numbers))
        found = {number: self.names[number] for number in numbers if number in self.names}
        self.has_read.set()
        assert self.may_return.wait(_PATIENCE_SECONDS)
        return found


async def _begin(register: _Register, gathered: Gathered[int, str]) -> "asyncio.Task[str | None]":
    """Ask for number 0, until that has been read."""
    first = asyncio.create_task(gathered.find(0))
    assert await asyncio.to_thread(register.has_read.wait, _PATIENCE_SECONDS)
    return first


def test_questions_asked_meanwhile_share_the_next_look_up() -> None:
    """A hundred who come while one is looked up cost one look-up more, and get their own answer."""
    register = _Register()

    async def ask() -> list[str | None]:
        gathered = Gathered(register.look_up)
        first = await _begin(register, gathered)
        others = asyncio.gather(*(gathered.find(number) for number in range(1, 101)))
        await asyncio.sleep(0)
        register.may_return.set()
        return [await first, *await others]

    assert asyncio.run(ask()) == [*(f"n{number}" for number in range(100)), None]
    assert register.asked == [[0], list(range(1, 101))]


def test_answer_is_never_older_than_its_question() -> None:
    """Who asks after a change sees it, even if the same was being looked up before."""
    register = _Register()

    async def ask() -> tuple[str | None, str | None]:
        gathered = Gathered(register.look_up)
        first = await _begin(register, gathered)
        del register.names[0]
        second = asyncio.create_task(gathered.find(0))
        await asyncio.sleep(0)
        register.may_return.set()
        return await first, await second

    assert asyncio.run(ask()) == ("n0", None)


def test_look_up_that_fails_is_told_to_those_it_was_for_alone() -> None:
    """The next question is looked up anew."""
    fails = iter([True, False])

    def look_up(numbers: Sequence[int]) -> dict[int, str]:
        if next(fails):
            raise ConnectionError("away")
        return dict.fromkeys(numbers, "here")

    async def ask() -> str | None:
        gathered = Gathered(look_up)
        both = await asyncio.gather(gathered.find(1), gathered.find(2), return_exceptions=True)
        assert [type(error) for error in both] == [ConnectionError, ConnectionError]
        return await gathered.find(1)

    assert asyncio.run(ask()) == "here"


def test_who_asks_no_more_holds_up_nobody() -> None:
    """A client that goes away does not take others' answers along, nor is it looked up."""
    register = _Register()

    async def ask() -> str | None:
        gathered = Gathered(register.look_up)
        first = await _begin(register, gathered)
        gone, stays = (asyncio.create_task(gathered.find(number)) for number in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        gone.cancel()
        register.may_return.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await stays

    assert asyncio.run(ask()) == "n2"
    assert register.asked == [[0], [2]]


def test_revoked_token_is_refused_by_the_next_request(served: Served) -> None:
    """Nothing of who somebody is, is kept from one request to the next."""
    number, secret = create_token(served.engine, Role.VIEWER)
    bearer = {"Authorization": f"Bearer {secret}"}
    for _ in range(3):
        assert served.client.get("/v1/studies", headers=bearer).status_code == 200
    revoke_token(served.engine, number)
    assert served.client.get("/v1/studies", headers=bearer).status_code == 401


def test_who_reads_does_not_wait_for_writers_until_the_use_of_a_token_is_noted(
    served: Served,
) -> None:
    """While somebody holds SQLite's lock for long, tokens are as good as ever; noted later."""

    def is_noted() -> bool:
        return any(token.used_at is not None for token in list_tokens(served.engine))

    with served.engine.begin() as writing:
        writing.execute(text("DELETE FROM tuner_audit"))
        started = time.monotonic()
        for role in ("viewer", "operator", "viewer"):
            assert served.request("GET", "/v1/studies", token=role).status_code == 200
        assert time.monotonic() - started < _PATIENCE_SECONDS
        assert not is_noted()
    wait_until(is_noted)
