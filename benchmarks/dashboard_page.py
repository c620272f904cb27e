"""Measure how soon Chromium shows the dashboard's pages of a long study, and what a refresh costs.

    python -m benchmarks.dashboard_page [--trials 2000] [--rounds 5] [--storage-url URL]...

`tuner serve` shows a study that is mostly pruned, with five epochs and three attributes a trial,
our pictures and note. Times are the browser's own, from navigation to the frame in which a view is
drawn: *first* after a start of the service and of the browser, whose memory and cache are empty,
*again* with both as they then are. A refresh is what an open page asks for every ten seconds. Its
statements, rows and bytes are counted in a service within this process, whose memory of the study
is ten seconds old. On SQLite, and on the usual local servers or those that are given.
"""

import gzip
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy
import typer
from optuna.storages._rdb import models
from playwright.sync_api import Browser, Page
from rich.console import Console
from rich.table import Table
from starlette.testclient import TestClient

from benchmarks.browser import add_person, open_browser, sign_in
from benchmarks.databases import database_on, find_usual_servers, product
from benchmarks.machine import describe_machine, machine_line
from benchmarks.rows_read import counted
from benchmarks.served_study import STUDY, create_served_study
from benchmarks.service import serving
from benchmarks.setting import show_spread
from storage import Role, create_storage, create_token
from tuner.curves import MOST_CURVES
from tuner.pictures.figures import keep_in_study
from tuner.selection import find_confirmation
from tuner.server.app import Service, create_service
from tuner.server.settings import ServerSettings
from tuner.study import load_study

_PERSON = "watcher"
_N_RUNNING = 8
_PATIENCE_MS = 30_000

# Resolves with the milliseconds since navigation when a page has drawn this many trials.
_WHEN_DRAWN = """
async ([is_drawn, n, patience]) => {
    const test = new Function("n", `return ${is_drawn}`);
    const frame = () => new Promise(requestAnimationFrame);
    while (!test(n)) {
        if (performance.now() > patience) throw new Error(`not drawn: ${is_drawn}`);
        await frame();
    }
    await frame();
    await frame();
    return performance.now();
}
"""
_POINTS = "document.querySelectorAll('#plot-history .point').length >= n"
_CURVES = (
    "document.querySelectorAll('#graph-intermediate-values .trace').length"
    f" >= Math.min(n, {MOST_CURVES})"
)
_OURS = "document.querySelectorAll('[id^=\"user-defined-plot\"] .cartesianlayer').length >= 2"
_LIST = "document.body?.textContent.includes(`${n} Trials`)"
_TABLE = "document.querySelectorAll('tbody tr').length > 0"
_PARALLEL = "document.querySelectorAll('.parcoords').length > 0"

# By page: what people wait for, in this order, as JavaScript of the number of trials ``n``.
PAGES = {
    "": {"study: history": _POINTS, "study: all plots": f"{_OURS} && {_CURVES}"},
    "/trials": {"trials: list": _LIST},
    "/smartSelection": {"selection: table, parallel coordinates": f"{_TABLE} && {_PARALLEL}"},
}


@dataclass
class Waits:
    """Milliseconds until a view was drawn, once a round."""

    first: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """What a request costs the database and the wire."""

    n_statements: int
    n_rows: int
    n_bytes: int
    n_bytes_sent: int


def main(
    trials: Annotated[int, typer.Option(min=1, help="Finished trials of the study.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Starts of service and browser.")] = 5,
    storage_url: Annotated[
        list[str] | None,
        typer.Option(help="Server to measure besides SQLite. Repeatable. `none` for none."),
    ] = None,
) -> None:
    """Measure the dashboard's pages in Chromium."""
    servers = find_usual_servers() if storage_url is None else storage_url
    databases: list[str | None] = [None, *(url for url in servers if url != "none")]
    machine = describe_machine()
    console = Console(width=130)
    found: dict[str, Any] = {}
    for server in databases:
        name, _ = product(server)
        print(f"{name} ...", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder, database_on(server, Path(folder)) as url:
            prepare(url, trials)
            waits = measure_waits(url, trials, rounds, Path(folder))
            costs = measure_costs(url, trials)
        console.print(_waits_table(name, waits), _costs_table(name, costs))
        found[name] = _raw(waits, costs)
    console.print(machine_line(machine, dict(product(server) for server in databases)))
    print(json.dumps({"trials": trials, "rounds": rounds, **found}))


def prepare(url: str, n_trials: int) -> None:
    """Make the study as one is that was searched with lanes and confirmed; and who watches it."""
    create_served_study(url, n_trials)
    storage = create_storage(url)
    loaded = load_study(storage, STUDY)
    confirmation = find_confirmation(loaded)
    assert confirmation is not None
    keep_in_study(loaded, confirmation)
    _add_attributes(storage.engine)
    add_person(storage.engine, _PERSON, Role.VIEWER)
    storage.engine.dispose()


def _add_attributes(engine: sqlalchemy.Engine) -> None:
    """Give each trial what our workers keep with one."""
    losses = json.dumps([1.0123456789 / step for step in range(1, 6)])
    with engine.begin() as connection:
        ids = list(connection.scalars(sqlalchemy.select(models.TrialModel.trial_id)))
        rows = [
            {"trial_id": trial_id, "key": key, "value_json": value}
            for trial_id in ids
            for key, value in (
                ("first_pass", str(trial_id)),
                ("training_loss", losses),
                ("worker", '"host:12345"'),
            )
        ]
        connection.execute(sqlalchemy.insert(models.TrialUserAttributeModel), rows)


def measure_waits(url: str, n_trials: int, n_rounds: int, folder: Path) -> dict[str, Waits]:
    """Open each page in turn, after a start of the service and of the browser, and once more."""
    waits = {name: Waits() for marks in PAGES.values() for name in marks}
    for _ in range(n_rounds):
        for path, marks in PAGES.items():
            with serving(url, folder) as server, open_browser() as browser:
                page = _signed_in(browser, server.url)
                address = f"{server.url}/dashboard/studies/1{path}"
                for name, milliseconds in _open(page, address, marks, n_trials):
                    waits[name].first.append(milliseconds)
                for name, milliseconds in _open(page, address, marks, n_trials):
                    waits[name].again.append(milliseconds)
    return waits


def _signed_in(browser: Browser, url: str) -> Page:
    """Return a page of somebody who has seen nothing of the dashboard yet."""
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(f"{url}/login?next=/healthz")
    sign_in(page, _PERSON)
    page.wait_for_url("**/healthz")
    return page


def _open(
    page: Page, address: str, marks: dict[str, str], n_trials: int
) -> list[tuple[str, float]]:
    page.goto(address, wait_until="commit")
    return [
        (name, float(page.evaluate(_WHEN_DRAWN, [is_drawn, n_trials, _PATIENCE_MS])))
        for name, is_drawn in marks.items()
    ]


def measure_costs(url: str, n_trials: int) -> dict[str, Cost]:
    """Count what the first request of a page and its refreshes cost."""
    service = create_service(ServerSettings(url))
    engine = service.storage.engine
    _, token = create_token(engine, Role.VIEWER)
    client = TestClient(service.asgi, base_url="http://localhost")
    client.headers["Authorization"] = f"Bearer {token}"
    try:
        costs = {"first": _ask(service, client, 0)}
        costs["refresh"] = _ask(service, client, n_trials)
        study = load_study(create_storage(url), STUDY).study
        for _ in range(_N_RUNNING):
            study.ask()
        costs[f"refresh, {_N_RUNNING} trials running"] = _ask(service, client, n_trials)
    finally:
        engine.dispose()
    return costs


def _ask(service: Service, client: TestClient, after: int) -> Cost:
    """Ask as a page does that knows this many trials, and as if the last look were long ago."""
    client.get("/dashboard")  # who asks is known already, whichever view is measured
    service.dashboard.bottle._inmemory_cache._trials_last_fetched_at.clear()
    address = f"/api/studies/1?after={after}"
    with (
        counted(service.storage.engine) as count,
        client.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        sent = b"".join(answer.iter_raw())
    assert answer.status_code == 200
    return Cost(count.n_statements, count.n_rows, len(gzip.decompress(sent)), len(sent))


def _waits_table(database: str, waits: dict[str, Waits]) -> Table:
    headings = ("view", "first, median s", "min", "max", "again, median s", "min", "max")
    table = Table(*headings, title=database)
    for name, wait in waits.items():
        seconds = [[ms / 1e3 for ms in values] for values in (wait.first, wait.again)]
        table.add_row(name, *show_spread(seconds[0]), *show_spread(seconds[1]))
    return table


def _costs_table(database: str, costs: dict[str, Cost]) -> Table:
    headings = ("request", "SQL statements", "rows", "bytes", "bytes sent")
    table = Table(*headings, title=f"{database}, a page's requests for the study")
    for name, cost in costs.items():
        numbers = (cost.n_statements, cost.n_rows, cost.n_bytes, cost.n_bytes_sent)
        table.add_row(name, *(f"{number:,}" for number in numbers))
    return table


def _raw(waits: dict[str, Waits], costs: dict[str, Cost]) -> dict[str, Any]:
    return {
        "milliseconds": {
            name: {
                "first": wait.first,
                "again": wait.again,
                "median": [statistics.median(wait.first), statistics.median(wait.again)],
            }
            for name, wait in waits.items()
        },
        "costs": {name: vars(cost) for name, cost in costs.items()},
    }


if __name__ == "__main__":
    typer.run(main)
