"""The program that trainers are forked from: it has imported torch once.

The first that it forks for a crew of several opens their study, and forks them in turn. Run as
``forkserver.main(descriptor)``.
"""

import socket

from tuner.workers.forking import serve
from tuner.workers.trainer import run_trainer


def main(descriptor: int) -> None:
    """Serve the coordinator at the other end of a socket until it is gone."""
    serve(socket.socket(fileno=descriptor), run_trainer)
