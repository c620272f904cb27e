"""A page of a real Chromium, and what the browser had to say about it."""

import contextlib
import re
from collections.abc import Iterator

from playwright.sync_api import Browser, Page, Request, expect

from benchmarks.browser import PASSWORD, add_person, open_browser, sign_in
from storage import Role, create_storage
from tests.browser import find_chromium
from tests.conftest import ROOT

SCREENSHOTS = ROOT / "tests" / "output"
expect.set_options(timeout=30_000)

# Of a page that is left while it asks for news.
_LEFT = "net::ERR_ABORTED"


@contextlib.contextmanager
def starting_browser(*options: str) -> Iterator[Browser]:
    """Start the Chromium that is installed here."""
    find_chromium()
    SCREENSHOTS.mkdir(exist_ok=True)
    with open_browser(*options) as browser:
        yield browser


def add_people(url: str) -> None:
    """Make a user of each role, who is named after it."""
    engine = create_storage(url).engine
    for role in Role:
        add_person(engine, role.value, role)


class Watched:
    """A page, what it asked for, and what the browser complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        page.on("request", lambda request: self.asked_for.append(request.url))
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("requestfailed", self._note_failure)
        page.set_default_timeout(30_000)

    def _note(self, kind: str, message: str) -> None:
        if kind == "error":
            self.complaints.append(message)

    def _note_failure(self, request: Request) -> None:
        if request.failure != _LEFT:
            self.complaints.append(f"{request.url}: {request.failure}")

    def enter(self, name: str, path: str = "/dashboard") -> None:
        """Sign in, and go to a page."""
        self.page.goto(f"{self.url}/login?next={path}")
        self.sign_in(name)
        self.page.wait_for_url(re.compile(re.escape(f"{self.url}{path}") + r"(\?.*)?$"))

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Fill in the form and send it."""
        sign_in(self.page, name, password)

    def take(self, name: str, *, height: int = 1000) -> None:
        """Keep a picture of the page."""
        self.page.set_viewport_size({"width": 1400, "height": height})
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@contextlib.contextmanager
def watching(browser: Browser, url: str) -> Iterator[Watched]:
    """Open a page in a browser without cookies."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield Watched(context.new_page(), url)
    context.close()
