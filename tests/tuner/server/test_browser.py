"""The service as people see it: a real Chromium signs in, looks at the study, and signs out.

What it saw is kept in `tests/output/*.png`. A page passes only without complaints: neither errors
in the browser's console (such as what our policy blocks) nor requests that failed.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import optuna_dashboard
import pytest
import uvicorn
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.distributions import BaseDistribution, FloatDistribution
from playwright.sync_api import Browser, Locator, Page, expect

from storage import Role, create_storage
from tests.conftest import clean_environment
from tests.forked import Tuner
from tests.tuner.confirmed import make_confirmed_study
from tests.tuner.conftest import LANES, wait_until
from tests.tuner.server.conftest import Server, StartServer
from tests.tuner.server.watched import Watched, add_people, watching
from tuner.pictures.figures import keep_in_study
from tuner.pictures.path import get_confirmation
from tuner.server.app import create_service
from tuner.server.settings import ServerSettings
from tuner.study import create_or_resume

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def storage_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a storage with a study that was confirmed, its pictures and note, and people."""
    url = f"sqlite:///{tmp_path_factory.mktemp('browser') / 'tuner.db'}"
    loaded = make_confirmed_study(url)
    keep_in_study(loaded, get_confirmation(loaded))
    add_people(url)
    return url


@pytest.fixture(scope="module")
def server(start_server: StartServer, storage_url: str) -> Server:
    """Return a running service on it."""
    return start_server(storage_url)


@pytest.fixture
def watched(browser: Browser, server: Server) -> Iterator[Watched]:
    """Return a page of a browser without cookies."""
    with watching(browser, server.url) as watched:
        yield watched


def test_stranger_is_asked_to_sign_in_and_told_of_a_wrong_password(watched: Watched) -> None:
    """The page says what is wrong, keeps the name, and lets in with the right password."""
    page = watched.page
    page.goto(f"{watched.url}/dashboard/studies/1")
    expect(page).to_have_title("Sign in · lambda-tuner")
    watched.take("login")
    watched.sign_in("viewer", "wrong password")
    expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
    expect(page.get_by_label("Name")).to_have_value("viewer")
    watched.take("login_wrong")
    (complaint,) = watched.complaints
    assert "401" in complaint
    watched.sign_in("viewer")
    page.wait_for_url(f"{watched.url}/dashboard/studies/1")


def test_study_is_found_in_the_list_and_seen_with_our_pictures(watched: Watched) -> None:
    """Under our policy the dashboard draws each plot of the study, path and map of λ too."""
    watched.enter("viewer")
    page = watched.page
    page.get_by_text("1. digits", exact=True).click()
    page.set_viewport_size({"width": 1400, "height": 3200})
    expect(page.locator("#plot-history .point")).not_to_have_count(0)
    expect(page.locator("#graph-intermediate-values .trace")).not_to_have_count(0)
    for picture in ("path", "map"):
        plot = page.locator(f"[id='user-defined-plot:lambda-{picture}']")
        expect(plot.locator(".trace").first).to_be_visible()
    expect(page.get_by_text("Path of λ in digits")).to_be_visible()
    watched.take("study", height=3200)
    assert watched.complaints == []


def test_study_is_fetched_once_while_the_script_is_still_loaded(watched: Watched) -> None:
    """The page's link asks for just what its script will ask for, so that neither asks twice."""
    watched.enter("viewer", "/dashboard/studies/1")
    expect(watched.page.locator("#plot-history .point").first).to_be_visible()
    fetched = watched.page.evaluate(
        "performance.getEntriesByType('resource').map(e => [new URL(e.name), e.startTime])"
        ".filter(([url]) => url.search === '?after=0').map(([url, at]) => [url.pathname, at])"
    )
    asked = watched.page.evaluate(
        "performance.getEntriesByType('resource').find(e => e.name.endsWith('/api/meta')).startTime"
    )
    [(path, at)] = fetched
    assert path == "/api/studies/1"
    assert at < asked


@pytest.mark.long
def test_every_page_of_a_study_is_drawn_without_complaint(watched: Watched) -> None:
    """Parallel coordinates by WebGL, all other plots, trials with each epoch's value, the note."""
    watched.enter("viewer")
    page = watched.page
    study = f"{watched.url}/dashboard/studies/1"
    page.goto(f"{study}/smartSelection")
    expect(page.locator(".parcoords").first).to_be_visible()
    expect(page.get_by_text("WebGL is not supported")).to_have_count(0)
    watched.take("study_selection", height=2400)
    page.goto(f"{study}/analytics")
    expect(page.locator("#graph-contour .main-svg").first).to_be_visible()
    watched.take("study_analytics", height=2400)
    page.goto(f"{study}/trials?numbers=0")
    expect(page.get_by_role("heading", name="Trial 0")).to_be_visible()
    expect(page.get_by_text("Intermediate Values")).to_be_visible()
    watched.take("study_trials")
    page.goto(f"{study}/note")
    expect(page.get_by_text("λ matters here: 0 is worse by")).to_be_visible()
    expect(page.locator("table")).to_be_visible()
    watched.take("study_note")
    assert watched.complaints == []


@pytest.mark.long
def test_open_page_shows_the_trials_that_a_worker_trains(
    watched: Watched, storage_url: str, tmp_path: Path
) -> None:
    """Nobody reloads: the page asks for news, and the history grows point by point."""
    loaded = create_or_resume(create_storage(storage_url), "running", LANES, n_trials=10_000)
    path = f"/dashboard/studies/{loaded.study_id}"
    watched.enter("viewer", path)
    page = watched.page
    expect(page.get_by_text("running (id=")).to_be_visible()
    page.evaluate("window.wasNotReloaded = true")
    command = ("worker", "--study", "running", "--storage", storage_url)
    worker = Tuner(command, tmp_path, clean_environment(), tmp_path / "worker.log")
    points = page.locator("#plot-history .point")
    try:
        wait_until(lambda: _count(page, points) > 0)
        seen = points.count()
        watched.take("running")
        wait_until(lambda: _count(page, points) > seen)
        watched.take("running_later")
    finally:
        worker.terminate()
        worker.wait(200)
    assert page.evaluate("window.wasNotReloaded")
    assert watched.complaints == []


def _count(page: Page, points: Locator) -> int:
    page.wait_for_timeout(200)  # lets the page work too
    return points.count()


@contextlib.contextmanager
def _serving(url: str, folder: Path) -> Iterator[str]:
    """Serve with a store for artifacts, which `tuner serve` does without."""
    service = create_service(ServerSettings(url), FileSystemArtifactStore(folder))
    server = uvicorn.Server(uvicorn.Config(service.asgi, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(200)
        service.storage.engine.dispose()


@pytest.fixture(scope="module")
def equipped_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a service; its study has all that the dashboard lets people change."""
    folder = tmp_path_factory.mktemp("equipped")
    url = f"sqlite:///{folder / 'tuner.db'}"
    study = optuna.create_study(storage=create_storage(url), study_name="equipped")
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    study.tell(study.ask(space), 0.5)
    running = study.ask(space)
    optuna_dashboard.register_objective_form_widgets(
        study, widgets=[optuna_dashboard.TextInputWidget()]
    )
    file = folder / "notes.txt"
    file.write_text("a file")
    store = FileSystemArtifactStore(folder)
    for owner in (study, running):
        upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=owner)
    add_people(url)
    with _serving(url, folder) as address:
        yield address


@dataclass(frozen=True)
class _Place:
    """A page, what shows that it is there, and its controls that change something."""

    path: str
    landmark: str
    controls: tuple[str, ...]


_NOTE = '[data-testid="EditIcon"]'
_ARTIFACTS = ('[aria-label="delete artifact"]', "text=Upload a New File")
_FORM = ('h5:has-text("Set Objective Value Form")', 'button:has-text("Submit")')
_PLACES = {
    "studies": _Place(
        "/dashboard",
        "text=1. equipped",
        (
            'button:has-text("Create")',
            '[aria-label="rename study"]',
            '[aria-label="delete study"]',
        ),
    ),
    "study": _Place("/dashboard/studies/1", "text=notes.txt", _ARTIFACTS),
    "trial": _Place(
        "/dashboard/studies/1/trials?numbers=1",
        "text=notes.txt",
        (_NOTE, *_ARTIFACTS, 'button:has-text("Fail Trial")', *_FORM),
    ),
    "note": _Place("/dashboard/studies/1/note", 'role=heading[name="Note"]', (_NOTE,)),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", _PLACES)
@pytest.mark.long
def test_controls_that_change_something_are_seen_by_admins_only(
    browser: Browser, equipped_url: str, name: str, role: Role
) -> None:
    """Viewers and operators look at the same pages without buttons that would be refused."""
    place = _PLACES[name]
    with watching(browser, equipped_url) as watched:
        watched.enter(role)
        page = watched.page
        page.goto(equipped_url + place.path)
        expect(page.locator(place.landmark).first).to_be_visible()
        for control in place.controls:
            expect(page.locator(control).first).to_be_attached()
            expect(page.locator(f"{control} >> visible=true")).to_have_count(
                1 if role is Role.ADMIN else 0
            )
        watched.take(f"controls_{name}_{role}")
        assert watched.complaints == []


def test_viewer_cannot_delete_by_a_request_either(watched: Watched) -> None:
    """What the page's script would send is refused; the study stays."""
    watched.enter("viewer")
    page = watched.page
    expect(page.get_by_text("1. digits", exact=True)).to_be_visible()
    ask = "async () => (await fetch('/api/studies/1', {method: 'DELETE'})).status"
    assert page.evaluate(ask) == 403
    page.reload()
    expect(page.get_by_text("1. digits", exact=True)).to_be_visible()


def test_signing_out_ends_the_session_itself(watched: Watched) -> None:
    """It leads back to the form; neither the way back nor the old cookie opens anything."""
    watched.enter("viewer", "/dashboard/studies/1")
    page = watched.page
    expect(page.get_by_text("viewer · viewer")).to_be_visible()
    expect(page.locator("#plot-history .point")).not_to_have_count(0)
    cookies = page.context.cookies()
    assert [(c["httpOnly"], c["sameSite"], c["secure"]) for c in cookies] == (
        [(True, "Lax", False)] * 2
    )
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · lambda-tuner")
    assert [cookie["name"] for cookie in page.context.cookies()] == ["tuner_device"]
    page.go_back()
    expect(page).to_have_title("Sign in · lambda-tuner")
    page.context.add_cookies(cookies)
    page.goto(f"{watched.url}/dashboard")
    expect(page).to_have_title("Sign in · lambda-tuner")
    assert watched.complaints == []


def test_admin_deletes_through_the_page(watched: Watched, server: Server) -> None:
    """The button works for those who may; a page elsewhere cannot press it for them."""
    watched.enter("admin")
    page = watched.page
    expect(page.get_by_text("digits").first).to_be_visible()
    page.get_by_role("button", name="Create").click()
    page.get_by_label("Study name").fill("planted")
    page.get_by_role("button", name="Create").last.click()
    planted = page.locator(".MuiCard-root", has_text="planted")
    number = (planted.locator("h5").text_content() or "").partition(".")[0]
    foreign = page.context.new_page()
    foreign.goto(f"http://localhost:{server.port}/login")  # another origin, the same site
    foreign.evaluate(
        "url => fetch(url, {method: 'DELETE', mode: 'no-cors', credentials: 'include'})"
        ".catch(() => null)",
        f"{watched.url}/api/studies/{number}",
    )
    page.reload()
    expect(planted).to_be_visible()
    planted.get_by_label("delete study").click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        page.get_by_role("button", name="Yes").click()
    assert deleted.value.status == 204
    watched.take("deleted")
    page.reload()
    expect(page.get_by_text("1. digits", exact=True)).to_be_visible()
    expect(planted).to_have_count(0)
