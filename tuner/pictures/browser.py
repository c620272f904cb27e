"""Let a browser draw figures to PNG and SVG; one that does not answer is ended and tried anew.

Kaleido drives it from a process of its own: it would wait for ever for a browser that hangs as it
starts, and cannot be told to give up.
"""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tuner.errors import PicturesError
from tuner.names import ROOT
from tuner.strict_json import to_json

_PICTURE_SECONDS = 120  # of one picture: one second, but for a machine that is busy
_BROWSER_SECONDS = 200
_N_ATTEMPTS = 2
_PROGRAM = """
import sys; sys.path.append({root!r})
from tuner.pictures.browser import draw_here
draw_here({seconds!r})
"""

_NO_KALEIDO = "PNG and SVG need Kaleido: pip install 'lambda-tuner[plots]'"
_NO_BROWSER = "PNG and SVG need Chromium or Chrome: install it, or set BROWSER_PATH to it"
# How the process ends that has drawn nothing; else it tells an error.
_NOT_FOUND, _UNANSWERED = 3, 4


def draw_in_browser(specs: Sequence[dict[str, Any]], seconds: float = _BROWSER_SECONDS) -> None:
    """Draw figures as Kaleido's ``write_fig_from_object`` takes them, in JSON: fig, path, opts.

    Raises PicturesError, with the remedy, where there is no browser or no Kaleido to drive it,
    and where a browser has twice not answered within these seconds.
    """
    if importlib.util.find_spec("kaleido") is None:
        raise PicturesError(_NO_KALEIDO)
    program = _PROGRAM.format(root=str(ROOT), seconds=seconds)
    for _ in range(_N_ATTEMPTS):
        process = subprocess.run(
            [sys.executable, "-P", "-c", program],
            check=False,
            input=to_json(specs),
            capture_output=True,
            text=True,
        )
        if process.returncode == 0:
            return
        if process.returncode == _NOT_FOUND:
            raise PicturesError(_NO_BROWSER)
        if process.returncode != _UNANSWERED:
            told = process.stderr.strip().splitlines() or [f"status {process.returncode}"]
            raise PicturesError(f"PNG and SVG could not be drawn: {told[-1]}")
    raise PicturesError(
        f"The browser for PNG and SVG has {_N_ATTEMPTS} times not answered within {seconds:g} s: "
        "end what else this machine does, or choose --format html"
    )


def draw_here(seconds: float) -> None:
    """Draw what is on stdin; end this process and the browser if that takes longer."""
    from kaleido.errors import ChromeNotFoundError

    try:
        errors = asyncio.run(_draw(json.load(sys.stdin), seconds))
    except ChromeNotFoundError:
        sys.exit(_NOT_FOUND)
    if errors:
        sys.exit(" ".join(str(errors[0]).split()))


async def _draw(specs: Sequence[dict[str, Any]], seconds: float) -> Sequence[Exception]:
    from kaleido import Kaleido

    # Without a say on MathJax the browser would ask the internet for it.
    browser = Kaleido(mathjax=False, timeout=_PICTURE_SECONDS)
    drawing = asyncio.ensure_future(_draw_with(browser, specs))
    done, _ = await asyncio.wait([drawing], timeout=seconds)
    if not done:
        if hasattr(browser, "subprocess"):
            os.killpg(browser.subprocess.pid, signal.SIGKILL)
        os._exit(_UNANSWERED)  # threads that wait for the browser cannot be ended
    return drawing.result()


async def _draw_with(browser: Any, specs: Sequence[dict[str, Any]]) -> Sequence[Exception]:
    async with browser:
        found: Sequence[Exception] = await browser.write_fig_from_object(specs)
        return found
