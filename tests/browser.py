"""A real Chromium, to see what people see."""

import subprocess
from pathlib import Path

from benchmarks import browser
from tests import servers


def find_chromium() -> str:
    """Return Chromium's path; skip the test, or fail it in CI, where there is none."""
    chromium = browser.find_chromium()
    if chromium is None:
        servers.skip_or_fail("browser", "no Chromium is installed")
    return chromium


def read_page(url: str, profile: Path) -> str:
    """Return a page's DOM after its scripts have run."""
    command = [
        find_chromium(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={profile}",
        "--window-size=1400,1000",
        "--virtual-time-budget=5000",
        "--dump-dom",
        url,
    ]
    page = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    return page.stdout
