"""Where a test's processes are forked from: one server, with all that any of them imports.

A server of each test's own would import torch again and again.
"""

import multiprocessing
from multiprocessing import forkserver

from tuner import processes

context = multiprocessing.get_context("forkserver")

_PRELOADED = [
    *processes._PRELOADED,
    "tests.storage.test_contract",
    "tests.storage.test_claims",
]


def start_server() -> None:
    """Start the server in the background, unless it runs: it ends with this process."""
    context.set_forkserver_preload(_PRELOADED)
    forkserver.ensure_running()
