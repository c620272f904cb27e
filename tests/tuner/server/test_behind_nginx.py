"""The service behind a real nginx, as people have set it up: a default Host, a path of its host."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from storage import Role, create_storage, create_token
from tests import nginx
from tests.tuner.server.conftest import Server, StartServer, add_study
from tests.tuner.server.watched import Watched, add_people, watching
from tuner import cli

pytestmark = pytest.mark.xdist_group("nginx")

_REMEDY = "proxy_set_header Host $http_host;"

_DEFAULT = "location / {{ proxy_pass http://127.0.0.1:{port}; }}"
_HOST_WITHOUT_PORT = """location / {{
  proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_pass http://127.0.0.1:{port};
}}"""
_SUBPATH = """location /tuner/ {{
  proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Prefix /tuner;
  proxy_pass http://127.0.0.1:{port}/;
}}"""
_SUBPATH_KEPT = "location /tuner/ {{ proxy_pass http://127.0.0.1:{port}; }}"

StartNginx = Callable[[Server, str], str]


@pytest.fixture(scope="module")
def storage_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a storage with a study, and people."""
    url = f"sqlite:///{tmp_path_factory.mktemp('behind') / 'tuner.db'}"
    add_study(url)
    add_people(url)
    return url


@pytest.fixture(scope="module")
def server(start_server: StartServer, storage_url: str) -> Server:
    """Return a service that has its host for itself."""
    return start_server(storage_url, "--trusted-proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def below(start_server: StartServer, storage_url: str) -> Server:
    """Return a service that shares its host with others."""
    return start_server(storage_url, "--root-path", "/tuner/", "--trusted-proxy", "127.0.0.1")


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """Return a function that starts an nginx before a service, and returns its address."""
    with contextlib.ExitStack() as stack:

        def start(server: Server, location: str) -> str:
            given = location.format(port=server.port)
            return f"http://127.0.0.1:{stack.enter_context(nginx.running(tmp_path, given))}"

        yield start


def _look_around(watched: Watched, name: str) -> None:
    """Sign in, look at the list and at a study, and sign out."""
    page = watched.page
    page.goto(f"{watched.url}/")
    watched.sign_in("viewer")
    page.wait_for_url(f"{watched.url}/dashboard")
    page.get_by_text("1. digits", exact=True).click()
    page.wait_for_url(f"{watched.url}/dashboard/studies/1")
    expect(page.locator("#plot-history .point")).not_to_have_count(0)
    watched.take(name, height=1600)
    page.goto(f"{watched.url}/dashboard/studies/1/trials?numbers=0")
    expect(page.get_by_role("heading", name="Trial 0")).to_be_visible()
    page.goto(f"{watched.url}/dashboard/studies/1/smartSelection")
    table = page.get_by_role("link", name="Download CSV File")
    assert page.request.get(f"{watched.url.removesuffix('/tuner')}{table.get_attribute('href')}").ok
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · lambda-tuner")
    assert not any("session" in cookie["name"] for cookie in page.context.cookies())
    page.goto(f"{watched.url}/dashboard")
    expect(page).to_have_title("Sign in · lambda-tuner")


@pytest.mark.browser
@pytest.mark.parametrize("location", [_DEFAULT, _HOST_WITHOUT_PORT], ids=["default", "no-port"])
def test_people_sign_in_look_and_sign_out_whatever_nginx_makes_of_host(
    browser: Browser, server: Server, start_nginx: StartNginx, location: str
) -> None:
    """The browser says that the form is the service's own, and is believed."""
    with watching(browser, start_nginx(server, location)) as watched:
        _look_around(watched, "behind_nginx")
        assert watched.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("location", [_SUBPATH, _SUBPATH_KEPT], ids=["stripped", "kept"])
@pytest.mark.long
def test_below_a_path_no_request_leaves_it(
    browser: Browser, below: Server, start_nginx: StartNginx, location: str
) -> None:
    """Pages, script, data, forms and cookie: all are below the path, whether nginx takes it off."""
    url = f"{start_nginx(below, location)}/tuner"
    with watching(browser, url) as watched:
        watched.enter("viewer")
        assert {cookie["path"] for cookie in watched.page.context.cookies()} == {"/tuner"}
        watched.page.goto("about:blank")  # or what the page still asks for would be refused
        watched.page.context.clear_cookies()
        _look_around(watched, "below_a_path")
        assert {"/tuner/static/bundle.js", "/tuner/api/studies", "/tuner/logout"} <= {
            re.sub(r"^http://[^/]+", "", asked).partition("?")[0] for asked in watched.asked_for
        }
        assert [asked for asked in watched.asked_for if not asked.startswith(f"{url}/")] == []
        assert watched.complaints == []


@pytest.mark.browser
def test_page_that_a_changed_host_refuses_says_what_to_change(
    browser: Browser, server: Server, start_nginx: StartNginx
) -> None:
    """Without TLS a browser names the page's origin only; with Host as it was, it is let in."""
    port = start_nginx(server, _DEFAULT).rpartition(":")[2]
    url = f"http://lab.example.org:{port}"
    with watching(browser, url) as watched:
        watched.page.goto(f"{url}/login")
        watched.sign_in("viewer")
        said = watched.page.get_by_role("alert")
        expect(said).to_contain_text(url)
        expect(said).to_contain_text(f"127.0.0.1:{server.port}")
        expect(said).to_contain_text(_REMEDY)
        watched.take("changed_host")


def test_below_a_path_programs_find_all_there_is(
    below: Server,
    storage_url: str,
    start_nginx: StartNginx,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """API, events, metrics, redirects and our own client, by a token."""
    url = f"{start_nginx(below, _SUBPATH)}/tuner"
    token = create_token(create_storage(storage_url).engine, Role.OPERATOR)[1]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(headers=headers) as client:
        study = {"name": "below", "spec": {"dataset": "digits"}, "n_trials": 1}
        created = client.post(f"{url}/v1/studies", json=study)
        assert created.headers["location"] == "/tuner/v1/studies/below"
        assert client.post(f"{url}/v1/studies/below/stop").status_code == 200
        document = client.get(f"{url}/v1/openapi.json").json()
        assert document["servers"] == [{"url": "/tuner"}]
        assert "tuner_http_requests" in client.get(f"{url}/metrics").text
        assert client.get(f"{url}/healthz").json() == {"status": "ok"}
        with client.stream("GET", f"{url}/v1/studies/below/events") as events:
            assert "event: end" in events.read().decode()
        for path, target in (("/", "/tuner/dashboard"), ("", "/tuner/")):
            location = client.get(f"{url}{path}").headers["location"]
            assert location.removeprefix(url.removesuffix("/tuner")) == target
    page = httpx2.get(f"{url}/dashboard/studies/1?x=y", headers={"Accept": "text/html"})
    assert page.headers["location"] == "/tuner/login?next=/dashboard/studies/1%3Fx%3Dy"
    monkeypatch.setenv("TUNER_TOKEN", token)
    cli.app(["--server", url, "status", "--study", "below", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["study"] == "below"


def test_service_without_accounts_is_closed_to_whoever_comes_through_nginx(
    start_server: StartServer, start_nginx: StartNginx, tmp_path: Path
) -> None:
    """By its default nginx adds no header, and Host is this machine's: it is seen all the same."""
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    add_study(url)
    server = start_server(url)
    assert httpx2.get(f"{server.url}/api/studies").status_code == 200
    for location in (_DEFAULT, _DEFAULT.replace("{{", "{{ proxy_http_version 1.1;", 1)):
        through = start_nginx(server, location)
        page = {"Referer": f"{through}/dashboard", "Accept": "text/html"}
        response = httpx2.get(f"{through}/api/studies", headers=page)
        assert response.status_code == 403
        assert "digits" not in response.text
        assert "tuner user add" in response.text
        assert response.headers["content-type"].startswith("text/html")
