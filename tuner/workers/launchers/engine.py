"""What an engine does: it places crews and says how they are; crews share nothing but the database.

A crew is what ``tuner worker --workers N`` is. Another engine is one more module here, and a line
in ``ENGINES``.
"""

from dataclasses import dataclass
from typing import Protocol

from tuner.workers.config import WorkerConfig


@dataclass(frozen=True)
class EngineStatus:
    """How what an engine has placed is at one moment.

    ``n_crews`` run or are about to, with ``n_workers``; ``n_ended`` have ended by themselves;
    ``n_lost`` were killed, or died with their node, and have been replaced where there is room.
    ``problem`` is why one has ended for good.
    """

    n_crews: int
    n_workers: int
    n_ended: int = 0
    n_lost: int = 0
    problem: str | None = None


class Engine(Protocol):
    """Places crews of one study, replaces those that die, and ends them."""

    def start(self, crew: WorkerConfig, n_workers: int | None) -> None:
        """Begin to place crews with so many workers in all; None: as many as there is room for.

        Returns at once; ``poll`` goes on with it. Raises UsageError for what cannot work.
        """

    def poll(self) -> EngineStatus:
        """Place what is missing, and tell how all is; to be called about once a second."""

    def stop(self, seconds: float) -> None:
        """Have all crews give back what they train; kill those that take longer than this."""
