"""How many SQL statements the service runs for a request, but for those that begin transactions."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message

from benchmarks.rows_read import Count, counted
from tuner.server.app import create_service
from tuner.server.settings import ServerSettings

# Longer than answers are shared.
_ALONE_SECONDS = 0.6


@dataclass(frozen=True)
class Statements:
    """Of a request that comes alone, of one just after it, and of each of many at once."""

    alone: int
    following: int
    of_many: float


def count_statements(storage_url: str, token: str, path: str, n_at_once: int = 100) -> Statements:
    """Ask a service in this process for a path."""
    service = create_service(ServerSettings(storage_url))
    try:
        with counted(service.storage.engine) as count:
            return asyncio.run(_count(service.asgi, token, path, n_at_once, count))
    finally:
        service.storage.engine.dispose()


async def _count(asgi: ASGIApp, token: str, path: str, n_at_once: int, count: Count) -> Statements:
    async def ask(n: int) -> int:
        before = count.n_statements - count.n_begins
        await asyncio.gather(*(_get(asgi, token, path) for _ in range(n)))
        return count.n_statements - count.n_begins - before

    await ask(1)  # loads the study
    await asyncio.sleep(_ALONE_SECONDS)
    alone, following = await ask(1), await ask(1)
    await asyncio.sleep(_ALONE_SECONDS)
    return Statements(alone, following, await ask(n_at_once) / n_at_once)


async def _get(asgi: ASGIApp, token: str, path: str) -> None:
    path, _, query = path.partition("?")
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await asgi(scope, receive, send)
    assert statuses == [200], (path, statuses)
