"""`/metrics` and `/readyz`: right, cheap, bounded, and there when the database is not."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text
from sqlalchemy import Engine, text

from storage import Claimant, Role, create_storage, create_token, load_totals, register_worker
from storage.claims import Seen, claim_trials
from tests.servers import PrivatePostgres
from tests.storage.studies import counted
from tests.tuner.conftest import wait_until
from tests.tuner.server.conftest import Served, Server, StartServer
from tuner.report import load_status
from tuner.study import create_or_resume

Samples = dict[tuple[str, frozenset[str]], float]


def _samples(document: str) -> Samples:
    """Return the values by name and values of the labels."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in parse_text(document)
        for sample in family.samples
    }


def _scrape(served: Served) -> str:
    response = served.request("GET", "/metrics", token="viewer")
    assert response.status_code == 200
    document: str = response.text
    return document


def test_metrics_agree_with_status(served: Served) -> None:
    """Trials by state, workers and lanes are those that `tuner status` tells."""
    storage = served.service.storage
    loaded = create_or_resume(storage, "watched", {"dataset": "digits"}, n_trials=9)
    worker_id, _ = register_worker(served.engine, loaded.study_id, "host", 1, n_lanes=4)
    claim_trials(served.engine, Claimant(loaded.study_id, worker_id, 60), 3, Seen())
    status = load_status(loaded)
    samples = _samples(_scrape(served))
    of_study = frozenset({"watched"})
    assert status.states == {"RUNNING": 3}
    assert samples["tuner_trials", of_study | {"RUNNING"}] == 3
    assert samples["tuner_trials", of_study | {"COMPLETE"}] == 0
    assert samples["tuner_trials_budget", of_study] == status.n_trials == 9
    assert samples["tuner_slots_open", of_study] == 6
    (worker,) = status.workers
    assert samples["tuner_lanes", of_study] == worker["n_lanes"] == 4
    assert samples["tuner_lanes_busy", of_study] == worker["n_trials_in_training"] == 3
    assert samples["tuner_workers", of_study | {"alive"}] == 1
    assert samples["tuner_database_up", frozenset()] == 1


def test_metrics_are_read_as_prometheus_wants_them(served: Served) -> None:
    """OpenMetrics for whoever asks for it, however oddly; else the older text."""
    plain = served.request("GET", "/metrics", token="viewer")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    for version in ("1.0.0", "0.0.1", "nonsense"):
        accept = {"Accept": f"application/openmetrics-text;version={version},text/plain;q=0.5"}
        found = served.request("GET", "/metrics", token="viewer", headers=accept)
        assert found.headers["content-type"].startswith("application/openmetrics-text")
        assert {family.name for family in parse_open(found.text)} >= {"tuner_trials", "tuner_lanes"}


def test_metrics_name_routes_not_paths(served: Served) -> None:
    """What somebody asks for becomes no label, whether it is there or not."""
    for path in ("/v1/studies/never-heard-of", "/never-heard-of", "/api/studies/987654"):
        served.request("GET", path, token="viewer")
    served.request("GET", "/v1/studies/never-heard-of")
    document = _scrape(served)
    assert "never-heard-of" not in document
    assert "987654" not in document
    requests = {
        labels: value
        for (name, labels), value in _samples(document).items()
        if name == "tuner_http_requests_total"
    }
    assert requests[frozenset({"GET", "/v1/studies/{name:path}", "404"})] == 1
    assert requests[frozenset({"GET", "/api/studies/<study_id:int>", "404"})] == 1
    assert requests[frozenset({"GET", "none", "404"})] == 1
    assert requests[frozenset({"GET", "none", "401"})] == 1


def test_metrics_hold_no_secret_and_no_address(served: Served) -> None:
    """Neither tokens nor where the database is."""
    document = _scrape(served)
    assert not any(token in document for token in served.accounts.tokens.values())
    assert "sqlite" not in document


def test_metrics_for_many_servers_are_read_once(served: Served) -> None:
    """Ten at the same time cost the database one look or, on a slow machine, two; and tokens."""
    with counted(served.engine) as look:
        load_totals(served.engine, 100)
    _scrape(served)
    time.sleep(1.2)  # what was read then is no answer any more
    with counted(served.engine) as ten, ThreadPoolExecutor(10) as pool:
        assert len(list(pool.map(lambda _: _scrape(served), range(10)))) == 10
    n_for_token = 2  # BEGIN and one query
    assert ten["statements"] <= 2 * look["statements"] + 10 * n_for_token


def test_readiness_needs_tables_of_this_version(served: Served) -> None:
    """An upgrade that is due is said, without more; and seen when it is done."""
    assert served.request("GET", "/readyz").json() == {"status": "ready"}
    with _other_version(served.engine):
        time.sleep(1.1)
        response = served.request("GET", "/readyz")
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"] == "The database's tables are of another version"
    time.sleep(1.1)
    assert served.request("HEAD", "/readyz").status_code == 200


@contextmanager
def _other_version(engine: Engine) -> Iterator[None]:
    statement = text("UPDATE tuner_schema_version SET version_num = :version")
    with engine.begin() as connection:
        before = connection.execute(text("SELECT version_num FROM tuner_schema_version")).scalar()
        connection.execute(statement, {"version": "1"})
    yield
    with engine.begin() as connection:
        connection.execute(statement, {"version": before})


class _OnPostgres:
    """A service of a server that may be stopped, and a token for it."""

    def __init__(self, postgres: PrivatePostgres, start_server: StartServer) -> None:
        self.url = postgres.url.render_as_string(hide_password=False)
        self.engine = create_storage(self.url).engine
        self.token = create_token(self.engine, Role.VIEWER)[1]
        self.server: Server = start_server(self.url)

    def get(self, path: str, token: str | None = None) -> tuple[httpx2.Response, float]:
        """Return the answer, and the seconds that it took."""
        started = time.monotonic()
        headers = {"Authorization": f"Bearer {token or self.token}"}
        answer = httpx2.get(f"{self.server.url}{path}", headers=headers, timeout=200)
        return answer, time.monotonic() - started

    def wait_for_metrics(self, *, is_up: bool) -> tuple[httpx2.Response, float]:
        """Return metrics as by :meth:`get` once the database is as it is said to be.

        What took long to look at is kept for up to ten seconds.
        """
        found: list[tuple[httpx2.Response, float]] = []

        def is_said() -> bool:
            found[:] = [self.get("/metrics")]
            return f"tuner_database_up {float(is_up)}" in found[0][0].text

        wait_until(is_said)
        return found[0]


@pytest.fixture
def on_postgres(private_postgres: PrivatePostgres, start_server: StartServer) -> _OnPostgres:
    """Return a service on a private server, that has been scraped once."""
    service = _OnPostgres(private_postgres, start_server)
    assert "tuner_database_up 1.0" in service.get("/metrics")[0].text
    return service


@pytest.mark.slow
def test_database_that_is_gone_is_said_by_metrics_and_readiness(
    on_postgres: _OnPostgres, private_postgres: PrivatePostgres
) -> None:
    """The process's own numbers are there for whoever was known; strangers stay strangers."""
    private_postgres.stop("immediate")
    metrics, _ = on_postgres.wait_for_metrics(is_up=False)
    assert metrics.status_code == 200
    samples = _samples(metrics.text)
    assert samples["tuner_storage_errors_total", frozenset({"outage"})] >= 1
    assert "tuner_trials{" not in metrics.text
    assert on_postgres.get("/metrics", token="tuner_unknown")[0].status_code == 503
    readiness, seconds = on_postgres.get("/readyz")
    assert readiness.status_code == 503
    assert readiness.json()["detail"] == "The database does not answer"
    assert str(private_postgres.port) not in readiness.text
    assert seconds < 3
    private_postgres.start()
    time.sleep(1.1)
    assert on_postgres.get("/readyz")[0].status_code == 200
    on_postgres.wait_for_metrics(is_up=True)


@pytest.mark.slow
def test_database_that_hangs_is_not_waited_for(on_postgres: _OnPostgres) -> None:
    """Two seconds for readiness, whoever asks at once, and one connection for all of them."""
    time.sleep(1.1)
    with on_postgres.engine.connect() as blocking:
        for table in ("tuner_schema_version", "tuner_tokens", "tuner_budgets"):
            blocking.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: on_postgres.get("/readyz"), range(20)))
        assert {answer.status_code for answer, _ in answers} == {503}
        assert max(seconds for _, seconds in answers) < 20  # not one after another: that takes 40
        waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted"
        assert blocking.execute(text(waiting)).scalar_one() == 1
        _, seconds = on_postgres.wait_for_metrics(is_up=False)
        assert seconds < 8
    time.sleep(1.1)
    assert on_postgres.get("/readyz")[0].status_code == 200


def test_file_that_is_removed_under_the_service_is_said(
    sqlite_url: str, start_server: StartServer
) -> None:
    """503 with the remedy in the log, no traceback; no empty file is made in its place."""
    engine = create_storage(sqlite_url).engine
    _, token = create_token(engine, Role.VIEWER)
    engine.dispose()
    server = start_server(sqlite_url)
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(f"{server.url}/readyz").status_code == 200
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    for each in file.parent.glob("tuner.db*"):
        each.unlink()
    wait_until(lambda: httpx2.get(f"{server.url}/readyz").status_code == 503)
    for path in ("/v1/studies", "/api/studies"):
        assert httpx2.get(f"{server.url}{path}", headers=headers, timeout=60).status_code == 503
    assert httpx2.get(f"{server.url}/healthz").status_code == 200
    assert "was removed while it was in use" in server.logged()
    assert "Traceback" not in server.logged()
    assert "kept" not in server.logged()
    assert not file.exists()
