"""A real Chromium, driven by playwright, and people who sign in with it."""

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import Engine

from storage import Role, create_user
from tuner.server.passwords import hash_password

PASSWORD = "correct horse battery"

# Root may not use the sandbox; machines without a GPU draw WebGL with the processor.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader"]


def find_chromium() -> str | None:
    """Return the path of the Chromium that is installed, if one is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def open_browser(*options: str) -> Iterator[Browser]:
    """Start a Chromium without a window; raises FileNotFoundError."""
    if (chromium := find_chromium()) is None:
        raise FileNotFoundError("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*OPTIONS, *options])
        try:
            yield browser
        finally:
            browser.close()


def add_person(engine: Engine, name: str, role: Role) -> None:
    """Let somebody sign in with ``PASSWORD``."""
    create_user(engine, name, hash_password(PASSWORD), role)


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Fill in the form that the page shows, and send it."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
