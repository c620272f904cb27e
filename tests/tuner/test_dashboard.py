"""The dashboard, served for real: read-only on loopback unless asked, and seen in a browser."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import create_storage
from tests import servers
from tests.conftest import ROOT, Cli, clean_environment
from tuner.study import create_or_resume
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

SCREENSHOTS = ROOT / "tests" / "output"

Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path, sqlite_url: str) -> Iterator[Start]:
    """Return a function that starts `tuner dashboard` on a small study, and gives its address."""
    options = {"dataset": "digits", "epochs": 5}
    create_or_resume(create_storage(sqlite_url), "digits", options, n_trials=12)
    run_worker(WorkerConfig(sqlite_url, "digits"), Leaving())
    processes = []

    def start(*arguments: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "tuner", "dashboard", "--port", str(port), *arguments]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stderr is not None
        assert "Dashboard: http://" in process.stderr.readline()
        return f"http://127.0.0.1:{port}"

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=100)


def _request(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, method=method, headers=headers, data=None)
    try:
        with urllib.request.urlopen(request, timeout=200) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_dashboard_reads_and_refuses_to_write(start: Start) -> None:
    """Studies can be read; a DELETE by a stranger is refused and changes nothing."""
    address = start()
    status, body = _request(f"{address}/api/studies")
    (study,) = json.loads(body)["study_summaries"]
    assert (status, study["study_name"]) == (200, "digits")
    for method in ("DELETE", "POST", "PUT", "PATCH"):
        status, body = _request(f"{address}/api/studies/{study['study_id']}", method)
        assert status == 405
        assert b"--writable" in body
    assert len(json.loads(_request(f"{address}/api/studies")[1])["study_summaries"]) == 1


def test_dashboard_on_loopback_refuses_other_names(start: Start) -> None:
    """A web page that points its own name at this machine reads nothing."""
    address = start()
    assert _request(f"{address}/api/studies", Host="evil.example")[0] == 403
    assert _request(f"{address}/api/studies", Host="localhost:1")[0] == 200


def test_writable_dashboard_writes(start: Start) -> None:
    """With --writable the dashboard's own buttons work."""
    address = start("--writable")
    (study,) = json.loads(_request(f"{address}/api/studies")[1])["study_summaries"]
    path = f"{address}/api/studies/{study['study_id']}"
    foreign = {"Origin": "http://evil.example"}
    assert _request(path, "DELETE", **foreign)[0] == 403
    assert _request(path, "DELETE", **foreign, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    with urllib.request.urlopen(f"{address}/dashboard", timeout=200) as page:
        policies = page.headers.get_all("Content-Security-Policy", [])
        assert "frame-ancestors 'self'" in policies
    assert _request(path, "DELETE", Origin=address)[0] == 204
    assert json.loads(_request(f"{address}/api/studies")[1])["study_summaries"] == []


def test_dashboard_on_a_port_in_use_says_so(start: Start, call: Cli) -> None:
    """A taken port is one line with the remedy."""
    port = start().rpartition(":")[2]
    result = call("dashboard", "--port", port)
    assert result.returncode == 1
    assert "choose another --host or --port" in result.stderr


@pytest.mark.browser
def test_dashboard_shows_the_study_in_a_browser(start: Start, tmp_path: Path) -> None:
    """A real Chromium renders the study's page with its name and its best value's plot."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        servers.skip_or_fail("browser", "no Chromium is installed")
    address = start()
    SCREENSHOTS.mkdir(exist_ok=True)
    picture = SCREENSHOTS / "dashboard.png"
    command = [
        str(chromium),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1400,1000",
        "--virtual-time-budget=15000",
    ]
    page = f"{address}/dashboard/studies/1"
    command += [f"--screenshot={picture}", "--dump-dom", page]
    dom = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout
    assert "digits" in dom
    assert "plotly" in dom
    assert picture.stat().st_size > 20_000
    assert time.time() - picture.stat().st_mtime < 60
