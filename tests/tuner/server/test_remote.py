"""`tuner --server` prints over the API what it prints from the storage, and guards its token."""

import json
import re
import shutil
import socket
import subprocess
import threading
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from storage import create_storage
from tests.conftest import ROOT, clean_environment
from tests.tuner.server.conftest import Accounts, Server, StartServer, add_accounts, train_study
from tuner import cli
from tuner.errors import ContradictionError, NoResultError, ServiceError, TunerError, UsageError
from tuner.remote import Remote
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

Tuner = Callable[..., str]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a file with a finished study."""
    found = f"sqlite:///{tmp_path_factory.mktemp('remote') / 'tuner.db'}"
    train_study(found, n_trials=6, n_lanes=2)
    return found


@pytest.fixture(scope="module")
def accounts(url: str) -> Accounts:
    """Return tokens of each role."""
    return add_accounts(create_storage(url).engine)


@pytest.fixture(scope="module")
def server(url: str, accounts: Accounts, start_server: StartServer) -> Server:
    """Return a running `tuner serve`; the accounts are there before it."""
    assert accounts
    return start_server(url)


@pytest.fixture
def tuner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tuner:
    """Return a function that runs a command within this process and returns what it prints."""
    for name in ("TUNER_SERVER", "TUNER_TOKEN", "TUNER_TOKEN_FILE", "TUNER_STORAGE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        cli.app(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture
def remote(server: Server, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the service's URL; an operator's token is in the environment."""
    monkeypatch.setenv("TUNER_TOKEN", accounts.tokens["operator"])
    return server.url


def test_password_of_the_storage_is_no_business_of_a_service_s_client(
    tuner: Tuner,
    server: Server,
    accounts: Accounts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A variable set for all commands, as in our image, keeps none from asking the service."""
    monkeypatch.setenv("TUNER_STORAGE_PASSWORD_FILE", str(tmp_path / "missing"))
    asked = ("--server", server.url, "--token", accounts.tokens["viewer"])
    assert json.loads(tuner(*asked, "status", "--study", "digits", "--json"))["n_trials"] == 6


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", "--json"],
        ["trials"],
        ["trials", "--json"],
        ["export", "--format", "toml"],
        ["export", "--format", "torch"],
        ["export", "--rule", "best"],
    ],
    ids=" ".join,
)
def test_command_prints_the_same_over_the_api(
    tuner: Tuner, remote: str, url: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the place, and the version that only a storage can record."""
    monkeypatch.setenv("TUNER_STUDY", "digits")
    there = tuner("--server", remote, *command).replace(remote, url)
    here = tuner(*command, "--storage", url)

    def comparable(text: str) -> list[str]:
        return [
            " ".join(line.split())
            for line in text.splitlines()
            if not any(word in line for word in ("version", "exported_at", "# λ of study"))
        ]

    assert comparable(there) == comparable(here)


def test_study_is_created_and_steered_over_the_api(tuner: Tuner, remote: str) -> None:
    """Create, resume with another budget, pause, resume, stop; names with slashes and percents."""
    name = "a/b%2Fc ä"
    options = ["--study", name, "--dataset", "digits", "--trials", "3", "--priority", "2"]
    assert tuner("--server", remote, "create", *options) == (
        f"Study {name!r}: 0 of 3 trials finished\n"
    )
    options[5] = "4"
    created = json.loads(tuner("--server", remote, "create", *options, "--json"))
    assert (created["n_trials"], created["priority"], created["storage"]) == (4, 2, remote)
    assert created["confirmation"] == {"state": "waiting", "why_not": None}
    asked = json.loads(tuner("--server", remote, "confirm", "--study", name, "--json"))
    assert asked["confirmation"] == created["confirmation"]
    assert "once its search is over" in tuner("--server", remote, "confirm", "--study", name)
    for command, state in (("pause", "paused"), ("resume", "open"), ("stop", "stopped")):
        said = tuner("--server", remote, command, "--study", name, "--json")
        assert json.loads(said) == {"study": name, "state": state}
        status = json.loads(tuner("--server", remote, "status", "--study", name, "--json"))
        assert status["state"] == state
    with pytest.raises(ContradictionError, match="created with epochs 5, not 9"):
        tuner("--server", remote, "create", "--study", name, "--epochs", "9")


def test_more_trials_than_a_page_are_all_listed(
    remote: str, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page after page, in order."""
    monkeypatch.setattr("tuner.remote._PAGE", 4)
    rows = Remote(remote, accounts.tokens["viewer"]).list_trials("digits")
    assert [row["number"] for row in rows] == list(range(6))


@pytest.mark.parametrize(
    "case",
    [
        ("revoked", ("status",), ServiceError, "not accepted"),
        ("", ("status",), ServiceError, "wants a token"),
        ("viewer", ("pause",), ServiceError, r"refuses \(403\): This needs the role operator"),
        ("viewer", ("status", "--study", "none"), TunerError, "no study 'none'"),
        ("viewer", ("export", "--rule", "min", "--study", "digits"), NoResultError, "confirm"),
        ("viewer", ("export", "--pin", "1"), UsageError, "need --storage"),
        ("operator", ("create", "--objective", "os:system"), ServiceError, "allow-objective os"),
    ],
)
def test_refusal_is_one_line(
    tuner: Tuner,
    server: Server,
    accounts: Accounts,
    tmp_path: Path,
    case: tuple[str, tuple[str, ...], type[TunerError], str],
) -> None:
    """What the service says, without a traceback and without the token."""
    token, call, kind, said = case
    file = tmp_path / "token"
    file.write_text(accounts.tokens.get(token, "") + "\n")
    with pytest.raises(kind, match=said) as caught:
        tuner("--server", server.url, "--token-file", str(file), *call)
    assert "\n" not in str(caught.value)
    assert not any(secret in str(caught.value) for secret in accounts.tokens.values())


def test_service_that_is_not_there_is_one_line() -> None:
    """Refused, not found, or no TLS where it was asked for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServiceError, match=f"127.0.0.1:{port} cannot be reached: .*refused"):
        Remote(f"http://127.0.0.1:{port}", "t").load_status("s")
    with pytest.raises(ServiceError, match="cannot be reached"):
        Remote("https://no-such-host.invalid", "t").load_status("s")


class _Other(BaseHTTPRequestHandler):
    """A server of another kind: it redirects, or answers what is no JSON."""

    seen: list[str | None] = []  # noqa: RUF012 (the handler's class is made anew by nobody)

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        is_redirect = self.path.endswith("/redirected")
        self.send_response(302 if is_redirect else 200)
        if is_redirect:
            self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def other() -> Iterator[str]:
    """Return the URL of a server that is no `tuner serve`."""
    _Other.seen.clear()
    with HTTPServer(("127.0.0.1", 0), _Other) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_redirect_is_not_followed_with_the_token(other: str) -> None:
    """The token goes to the server that was named, and no further."""
    with pytest.raises(ServiceError, match=r"redirects to .*/elsewhere: give the address itself"):
        Remote(other, "secret").load_status("redirected")
    assert _Other.seen == ["Bearer secret"]


def test_server_of_another_kind_is_said(other: str) -> None:
    """Also TLS that meets none."""
    with pytest.raises(ServiceError, match="not as `tuner serve` does"):
        Remote(other, "secret").load_status("s")
    with pytest.raises(ServiceError, match="TLS failed"):
        Remote(other.replace("http:", "https:"), "secret").load_status("s")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://tuner.example", "without TLS"),
        ("http://127.0.0.1.example:8080", "without TLS"),
        ("http://localhost.example", "without TLS"),
        ("ftp://127.0.0.1", "write https"),
        ("tuner.example", "write https"),
        ("https://ann:pw@tuner.example", "leave out user"),
        ("http://[::1", "--server"),
        ("https://tuner.example:99999", "--server"),
    ],
)
def test_token_is_not_risked_on_an_address(url: str, said: str) -> None:
    """Without TLS only this machine itself gets it, unless insisted upon."""
    with pytest.raises(UsageError, match=said):
        Remote(url, "secret")


@pytest.mark.parametrize(
    ("url", "token", "is_insecure"),
    [
        ("http://127.0.0.1:8080", "secret", False),
        ("http://localhost:8080", "secret", False),
        ("http://[::1]:8080", "secret", False),
        ("https://tuner.example", "secret", False),
        ("http://tuner.example", "secret", True),
        ("http://tuner.example", None, False),
    ],
)
def test_token_is_sent_where_it_is_safe_or_insisted_upon(
    url: str, token: str | None, is_insecure: object
) -> None:
    """Loopback, TLS, or --insecure."""
    remote = Remote(url, token, bool(is_insecure))
    assert "secret" not in repr(remote)


def test_server_is_for_the_commands_that_the_api_has(
    tuner: Tuner, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for on another command it is an error; set for all, others keep to their storage."""
    with pytest.raises(UsageError, match="`tuner worker` needs the storage"):
        tuner("--server", "http://127.0.0.1:1", "worker")
    with pytest.raises(UsageError, match="contradict"):
        tuner("--server", "http://127.0.0.1:1", "status", "--storage", url)
    monkeypatch.setenv("TUNER_SERVER", "http://127.0.0.1:1")
    assert tuner("storage", "check", "--storage", url)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_lines_of_the_api_page_work_as_written(
    server: Server, accounts: Accounts, url: str
) -> None:
    """Copied from the page into a shell, one after another, with a worker that trains."""
    block = (ROOT / "docs" / "api.md").read_text().split("<!-- tested -->")[1].split("```")[1]
    lines = [line for line in block.splitlines() if line.startswith("curl ")]
    assert len(lines) >= 10
    environment = clean_environment(SERVER=server.url, TOKEN=accounts.tokens["operator"])
    printed = []
    for line in lines:
        asked = line.replace('"digits"', '"curled"', 1).replace("studies/digits", "studies/curled")
        if "/best" in asked:
            run_worker(WorkerConfig(url, "curled", n_lanes=4), Leaving())
        done = subprocess.run(
            ["bash", "-c", asked], env=environment, capture_output=True, text=True, check=False
        )
        is_cut_off = done.returncode == 28 and "--max-time" in line
        assert done.returncode == 0 or is_cut_off, f"{line}\n{done.stdout}{done.stderr}"
        printed.append(done.stdout)
    assert json.loads(printed[0])["study"] == "curled"
    assert "event: status" in printed[-3]
    assert tomllib.loads(printed[-2])["weight_decay"] > 0
    assert json.loads(printed[-1])["info"]["title"] == "lambda-tuner"


def test_routes_of_the_api_page_are_those_there_are(server: Server, accounts: Accounts) -> None:
    """The page's table and the OpenAPI document name the same routes."""
    page = (ROOT / "docs" / "api.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+) (/v1/\S+?)`((?:, `/\w+`)*) \|", page, re.MULTILINE)
    told = set()
    for method, path, more in rows:
        told.add((method, path))
        told |= {(method, path.rpartition("/")[0] + other) for other in re.findall("/\\w+", more)}
    remote = Remote(server.url, accounts.tokens["viewer"])
    document = remote._json("GET", "/v1/openapi.json")
    routes = {(m.upper(), path) for path, ms in document["paths"].items() for m in ms}
    assert told - {("GET", "/v1/openapi.json")} == routes
