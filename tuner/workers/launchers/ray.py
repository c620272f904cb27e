"""Crews on the nodes of a Ray cluster: an actor a node, which starts its crew as a child process.

Workers are not Ray's: a crew reads data once a node and forks, which Ray's own processes, with
their threads, must not. The actor gets the database with its password by a call of a method:
Ray keeps and shows what a constructor or a ``runtime_env`` is given.
"""

import logging
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from storage import mask_url, parse_url
from tuner.errors import UsageError, WorkersFailedError
from tuner.workers.config import WorkerConfig
from tuner.workers.engine_choice import EngineChoice
from tuner.workers.launchers.engine import EngineStatus
from tuner.workers.launchers.local import LocalEngine
from tuner.workers.launchers.placement import find_gpus, find_room, share_out

logger = logging.getLogger(__name__)

# How soon a node that joins has its crew, and one that died is noticed once Ray has noticed.
_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 10.0


class NodeCrew:
    """What runs in the actor; started anew by Ray it has no crew, and is told once more."""

    def __init__(self) -> None:
        self._engine: LocalEngine | None = None

    def start(self, crew: WorkerConfig, n_workers: int, folder: str | None) -> EngineStatus:
        """Start the crew, in this folder if the node has it."""
        if folder is not None and Path(folder).is_dir():
            os.chdir(folder)
        self._engine = LocalEngine()
        self._engine.start(crew, n_workers)
        return self._engine.poll()

    def poll(self) -> EngineStatus | None:
        """Tell how the crew is; None if none was started."""
        return None if self._engine is None else self._engine.poll()

    def stop(self, seconds: float) -> None:
        """Have the crew give back what it trains, and end."""
        if self._engine is not None:
            self._engine.stop(seconds)


@dataclass
class _Placed:
    """A crew that has a place: its actor, what was last asked of it, and what it said."""

    node_id: str
    n_workers: int
    actor: Any
    asked: Any
    asked_at: float
    said: EngineStatus | None = None

    @property
    def has_ended(self) -> bool:
        return self.said is not None and self.said.n_crews == 0


@dataclass
class RayEngine:
    """Places crews on a Ray cluster's nodes, also on those that join later."""

    choice: EngineChoice
    n_lost: int = 0
    looked_at: float = float("-inf")
    placed: list[_Placed] = field(default_factory=list)

    def start(self, crew: WorkerConfig, n_workers: int | None) -> None:
        """Join the cluster; raises UsageError if there is none, or the database is a file."""
        self._crew, self._n_workers = replace(crew, engine=None), n_workers
        _connect(self.choice)
        _check_reachable(crew.storage_url, {node["NodeManagerHostname"] for node in _nodes()})

    def poll(self) -> EngineStatus:
        """Place crews where CPUs have none, replace those whose node died, hear the others."""
        for crew in [*self.placed]:
            self._hear(crew)
        if time.monotonic() - self.looked_at >= _LOOK_SECONDS:
            self.looked_at = time.monotonic()
            self._look_at_nodes()
        running = [crew for crew in self.placed if not crew.has_ended]
        said = [crew.said for crew in self.placed if crew.said is not None]
        return EngineStatus(
            len(running),
            sum(crew.n_workers for crew in running),
            len(self.placed) - len(running),
            self.n_lost + sum(status.n_lost for status in said),
            next((status.problem for status in said if status.problem is not None), None),
        )

    def stop(self, seconds: float) -> None:
        """End all crews, on all nodes at once, and leave the cluster."""
        if not ray.is_initialized():
            return
        asked = [crew.actor.stop.remote(seconds) for crew in self.placed if not crew.has_ended]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=seconds + 5)
        for crew in self.placed:
            ray.kill(crew.actor)
        self.placed.clear()
        ray.shutdown()

    def _hear(self, crew: _Placed) -> None:
        """Take the answer to what was asked of a crew, and ask how it is now."""
        if crew.has_ended or not ray.wait([crew.asked], timeout=0)[0]:
            return
        try:
            crew.said = ray.get(crew.asked)
        except (ActorDiedError, ActorUnschedulableError):
            self._lose(crew)
            return
        except RayActorError:  # its process has died: Ray starts another, which has no crew
            crew.asked = crew.actor.poll.remote()
            return
        if crew.said is not None and crew.said.problem is not None:
            logger.warning("A crew has ended: %s", crew.said.problem)
        if crew.said is None:
            self.n_lost += 1
            crew.asked = self._start_crew(crew.actor, crew.n_workers)
        elif time.monotonic() - crew.asked_at >= _LOOK_SECONDS:
            crew.asked, crew.asked_at = crew.actor.poll.remote(), time.monotonic()

    def _lose(self, crew: _Placed) -> None:
        self.n_lost += 1
        self.placed.remove(crew)
        logger.warning("A node with %d workers has died", crew.n_workers)

    def _look_at_nodes(self) -> None:
        room = {
            node["NodeID"]: find_room(node["Resources"], self.choice.gpus_per_worker)
            for node in _nodes()
        }
        for crew in [*self.placed]:
            if crew.node_id not in room:
                ray.kill(crew.actor)
                self._lose(crew)
        taken: Counter[str] = Counter()
        for crew in self.placed:
            taken[crew.node_id] += crew.n_workers
        free = {node_id: n - taken[node_id] for node_id, n in room.items()}
        n_missing = None if self._n_workers is None else self._n_workers - taken.total()
        for node_id, n_workers in share_out(free, n_missing).items():
            self._place(node_id, n_workers)

    def _place(self, node_id: str, n_workers: int) -> None:
        # Without `num_cpus` an actor asks for one CPU to be placed, and none to run.
        placed: Any = ray.remote(NodeCrew).options(
            num_cpus=n_workers,
            num_gpus=find_gpus(n_workers, self.choice.gpus_per_worker),
            max_restarts=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
        actor = placed.remote()
        asked = self._start_crew(actor, n_workers)
        self.placed.append(_Placed(node_id, n_workers, actor, asked, time.monotonic()))

    def _start_crew(self, actor: Any, n_workers: int) -> Any:
        # With code that Ray brings, the folder is the one that Ray has made of it.
        folder = None if self.choice.code_dir is not None else str(Path.cwd())
        return actor.start.remote(self._crew, n_workers, folder)


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _check_answers(address: str) -> None:
    """Raise UsageError if nobody listens at HOST:PORT: Ray would try it for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return  # "auto", or another of Ray's ways to say it
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UsageError(_explain_absence(address)) from error


def _explain_absence(address: str) -> str:
    return (
        f"There is no Ray cluster at --address {address}: start one with `ray start --head`, and "
        "see docs/many-hosts.md"
    )


def _connect(choice: EngineChoice) -> None:
    _check_answers(choice.address)
    environment = {} if choice.code_dir is None else {"working_dir": str(choice.code_dir)}
    try:
        ray.init(
            address=choice.address,
            runtime_env=environment,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except ConnectionError as error:
        raise UsageError(_explain_absence(choice.address)) from error
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise WorkersFailedError(f"Ray at {choice.address} refuses: {reason}") from error


def _check_reachable(storage_url: str, hosts: set[str]) -> None:
    """Raise UsageError for a database that other hosts cannot reach."""
    others = hosts - {socket.gethostname()}
    if others and parse_url(storage_url).drivername.startswith("sqlite"):
        raise UsageError(
            f"Storage {mask_url(storage_url)} is a file of this host, and the cluster has "
            f"{len(hosts)} hosts: use --storage postgresql://... or mysql://..."
        )
