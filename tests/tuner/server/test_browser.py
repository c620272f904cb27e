"""The service as people see it: a real Chromium signs in, looks at the study, and signs out."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from storage import create_storage
from tests import servers
from tests.conftest import ROOT
from tests.tuner.server.conftest import (
    PASSWORD,
    Server,
    StartServer,
    add_accounts,
    add_study,
)

pytestmark = pytest.mark.browser

SCREENSHOTS = ROOT / "tests" / "output"
expect.set_options(timeout=30_000)
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return the Chromium that is installed here."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        servers.skip_or_fail("browser", "no Chromium is installed")
    SCREENSHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Return a running service with a study and users of each role."""
    url = f"sqlite:///{tmp_path_factory.mktemp('browser') / 'tuner.db'}"
    add_study(url)
    add_accounts(create_storage(url).engine)
    return start_server(url)


class _Watched:
    """A page, and what the browser complained about."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.url = server.url
        self.complaints: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.set_default_timeout(30_000)

    def _note(self, kind: str, message: str) -> None:
        if kind == "error":
            self.complaints.append(message)

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Fill in the form and send it."""
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def take(self, name: str) -> None:
        """Keep a picture of the page."""
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.fixture
def watched(browser: Browser, server: Server) -> Iterator[_Watched]:
    """Return a page of a browser without cookies."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield _Watched(context.new_page(), server)
    context.close()


def test_stranger_is_asked_to_sign_in_and_told_of_a_wrong_password(watched: _Watched) -> None:
    """The page says what is wrong, keeps the name, and lets in with the right password."""
    page = watched.page
    page.goto(f"{watched.url}/dashboard/studies/1")
    expect(page).to_have_title("Sign in · lambda-tuner")
    watched.take("login")
    watched.sign_in("viewer", "wrong password")
    expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
    expect(page.get_by_label("Name")).to_have_value("viewer")
    watched.take("login_wrong")
    watched.sign_in("viewer")
    page.wait_for_url(f"{watched.url}/dashboard/studies/1")


def test_study_is_seen_with_all_that_the_dashboard_draws(watched: _Watched) -> None:
    """Under our policy the bundle draws every plot, also the parallel coordinates by WebGL."""
    page = watched.page
    page.goto(f"{watched.url}/login?next=/dashboard/studies/1")
    watched.sign_in("viewer")
    expect(page.get_by_text("digits").first).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    watched.take("study")
    page.goto(f"{watched.url}/dashboard/studies/1/smartSelection")
    expect(page.locator(".parcoords").first).to_be_visible()
    expect(page.get_by_text("WebGL is not supported")).to_have_count(0)
    watched.take("study_parallel")
    for name in ("analytics", "trials"):
        page.goto(f"{watched.url}/dashboard/studies/1/{name}")
        page.wait_for_load_state("networkidle")
        watched.take(f"study_{name}")
    assert watched.complaints == []


def test_viewer_cannot_delete_through_the_page_and_is_told_so(watched: _Watched) -> None:
    """The dashboard's own button ends in a refusal; the study stays."""
    page = watched.page
    page.goto(f"{watched.url}/login")
    watched.sign_in("viewer")
    expect(page.get_by_text("1. digits")).to_be_visible()
    page.get_by_label("delete study").click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        page.get_by_role("button", name="Yes").click()
    assert deleted.value.status == 403
    watched.take("delete_refused")
    page.reload()
    expect(page.get_by_text("1. digits")).to_be_visible()


def test_signing_out_ends_the_session_itself(watched: _Watched) -> None:
    """The button in the corner leads back to the form, and the old cookie opens nothing."""
    page = watched.page
    page.goto(f"{watched.url}/login")
    watched.sign_in("viewer")
    expect(page.get_by_text("viewer · viewer")).to_be_visible()
    cookies = page.context.cookies()
    assert [(c["httpOnly"], c["sameSite"], c["secure"]) for c in cookies] == [(True, "Lax", False)]
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · lambda-tuner")
    assert page.context.cookies() == []
    page.context.add_cookies(cookies)
    page.goto(f"{watched.url}/dashboard")
    expect(page).to_have_title("Sign in · lambda-tuner")
    assert watched.complaints == []


def test_admin_deletes_through_the_page(watched: _Watched, server: Server) -> None:
    """The same button works for those who may; a page elsewhere cannot press it for them."""
    page = watched.page
    page.goto(f"{watched.url}/login")
    watched.sign_in("admin")
    expect(page.get_by_text("digits").first).to_be_visible()
    page.get_by_role("button", name="Create").click()
    page.get_by_label("Study name").fill("planted")
    page.get_by_role("button", name="Create").last.click()
    expect(page.get_by_text("2. planted")).to_be_visible()
    foreign = page.context.new_page()
    foreign.goto(f"http://localhost:{server.port}/login")  # another origin, the same site
    foreign.evaluate(
        "url => fetch(url, {method: 'DELETE', mode: 'no-cors', credentials: 'include'})"
        ".catch(() => null)",
        f"{watched.url}/api/studies/2",
    )
    page.reload()
    expect(page.get_by_text("2. planted")).to_be_visible()
    planted = page.locator(".MuiCard-root", has_text="2. planted")
    planted.get_by_label("delete study").click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        page.get_by_role("button", name="Yes").click()
    assert deleted.value.status == 204
    watched.take("deleted")
    page.reload()
    expect(page.get_by_text("1. digits")).to_be_visible()
    expect(page.get_by_text("2. planted")).to_have_count(0)
