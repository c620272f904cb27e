"""A keep-alive HTTP client that costs next to nothing, so that what is measured is the server."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What a server has said; the names of headers are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection, opened anew when the server has closed it as idle; an async context manager.

    Reads answers that name their length, as the service's all do.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._headers = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()

    async def get(self, path: str, tag: str | None = None) -> Answer:
        """Ask for a path, unless it is still what ``tag`` names."""
        if self._streams is None or self._streams[0].at_eof():
            await self._close()
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        condition = "" if tag is None else f"If-None-Match: {tag}\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\n{self._headers}{condition}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        status = int(head[0].split(" ", 2)[1])
        n_bytes = 0 if status == 304 else int(headers["content-length"])
        return Answer(status, headers, await reader.readexactly(n_bytes))
