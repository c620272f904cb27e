"""Many clients that poll one study's status and answer, and how long each request takes them."""

import asyncio
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.http_client import Connection
from benchmarks.postgres import read_cpu_seconds
from benchmarks.served_study import STUDY
from benchmarks.service import Server

STATUS, BEST, KNOWN = "status", "best", "best, known"

PATHS = {
    STATUS: f"/v1/studies/{STUDY}",
    BEST: f"/v1/studies/{STUDY}/best?rule=1se&format=toml",
    KNOWN: f"/v1/studies/{STUDY}/best?rule=1se&format=toml",
}
# What one client asks in turn.
_TURN = (STATUS, BEST, STATUS, KNOWN)


@dataclass(frozen=True)
class Load:
    """How many clients ask, for how long, and after how long each asks again; 0 is at once."""

    n_clients: int
    seconds: float
    interval_seconds: float


@dataclass
class Polled:
    """What came of it: seconds by endpoint, from when a request was due to the end of its answer.

    ``failures`` are answers that were none.
    """

    load: Load
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    client_cpu_seconds: float = 0.0

    @property
    def all_latencies(self) -> list[float]:
        """Those of all endpoints."""
        return list(itertools.chain(*self.latencies.values()))

    @property
    def requests_a_second(self) -> float:
        """The throughput."""
        return len(self.all_latencies) / self.seconds


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def poll(server: Server, token: str, load: Load) -> Polled:
    """Let the clients poll, each over its own connection that it keeps."""
    polled = Polled(load)
    server_before = read_cpu_seconds(server.pid)
    client_before, started = time.process_time(), time.perf_counter()
    asyncio.run(_poll(server, token, polled))
    polled.seconds = time.perf_counter() - started
    polled.client_cpu_seconds = time.process_time() - client_before
    polled.server_cpu_seconds = read_cpu_seconds(server.pid) - server_before
    return polled


async def _poll(server: Server, token: str, polled: Polled) -> None:
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for number in range(polled.load.n_clients):
            clients.create_task(_be_client(number, begin, Connection(server.url, token), polled))


async def _be_client(number: int, begin: float, connection: Connection, polled: Polled) -> None:
    tag: str | None = None
    async with connection:
        for due, kind in zip(
            _moments(number, begin, polled.load), itertools.cycle(_TURN), strict=False
        ):
            await asyncio.sleep(due - time.perf_counter())
            answer = await connection.get(PATHS[kind], tag if kind == KNOWN else None)
            polled.latencies[kind].append(time.perf_counter() - due)
            tag = answer.headers.get("etag", tag)
            if answer.status != (304 if kind == KNOWN else 200):
                polled.failures.append(f"{kind}: {answer.status} {answer.body[:200]!r}")


def _moments(number: int, begin: float, load: Load) -> Iterator[float]:
    """Yield when a client's requests are due: at its own beat, or whenever it is free.

    A client that is kept waiting is late for its next one, which counts as waiting too.
    """
    if load.interval_seconds:
        n_beats = round(load.seconds / load.interval_seconds)
        for beat in range(n_beats):
            yield begin + load.interval_seconds * (beat + number / load.n_clients)
        return
    while (now := time.perf_counter()) < begin + load.seconds:
        yield now
