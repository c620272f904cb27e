"""Make the pictures of docs/service.md: a study of real MNIST, seen by a viewer in Chromium.

    python -m benchmarks.screenshots [--data-dir data] [--output docs] [--storage-url URL]

Searches λ for 1,000 images and confirms it, which takes minutes; or shows the confirmed study of
the same name in a storage, to which a user is added.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from playwright.sync_api import Page

from benchmarks.browser import add_person, open_browser, sign_in
from benchmarks.service import serving
from storage import Role, create_storage
from tuner.study import load_study

_STUDY = "mnist-1000"
_SEARCH = f"run --study {_STUDY} --train-size 1000 --epochs 60 --trials 30 --workers 2"
_PERSON = "ann"
_WIDTH = 1400  # narrower, the titles of our pictures do not fit their cards


def main(
    data_dir: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
    output: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("docs"),
    storage_url: Annotated[str, typer.Option(help="Storage with the study; else trained.")] = "",
) -> None:
    """Make the pictures of docs/service.md."""
    output = output.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = storage_url or _search(folder, data_dir.resolve())
        storage = create_storage(url)
        study_id = load_study(storage, _STUDY).study_id
        add_person(storage.engine, _PERSON, Role.VIEWER)
        storage.engine.dispose()
        with serving(url, folder) as server, open_browser() as browser:
            page = browser.new_page(viewport={"width": _WIDTH, "height": 800})
            for file in _take_all(page, server.url, study_id, output):
                print(file)


def _search(folder: Path, data_dir: Path) -> str:
    url = f"sqlite:///{folder / 'tuner.db'}"
    where = ["--storage", url, "--data-dir", str(data_dir)]
    subprocess.run(
        [sys.executable, "-m", "tuner", *_SEARCH.split(), *where], cwd=folder, check=True
    )
    return url


def _take_all(page: Page, url: str, study_id: int, output: Path) -> list[Path]:
    study = f"/dashboard/studies/{study_id}"
    page.goto(f"{url}/login?next={study}")
    taken = [_take(page, output / "login.png", 560)]
    sign_in(page, _PERSON)
    page.locator("#plot-history .point").first.wait_for()
    card = page.locator("[id='user-defined-plot:lambda-path']")
    card.locator(".trace").first.wait_for()
    page.locator("#graph-timeline .trace").first.wait_for(state="attached")
    box = card.bounding_box()
    assert box is not None
    taken.append(_take(page, output / "dashboard-study.png", round(box["y"] + box["height"]) + 20))
    page.goto(f"{url}{study}/note")
    page.get_by_role("table").wait_for()
    taken.append(_take(page, output / "dashboard-note.png", 800))
    return taken


def _take(page: Page, file: Path, height: int) -> Path:
    """Take a picture of the page's top once all has settled, and make it small."""
    page.set_viewport_size({"width": _WIDTH, "height": height})
    page.mouse.move(0, height - 1)  # plots show their tools to a pointer
    page.wait_for_timeout(1500)  # transitions
    page.screenshot(path=file)
    with Image.open(file) as picture:
        picture.convert("RGB").save(file, optimize=True)
    return file


if __name__ == "__main__":
    typer.run(main)
