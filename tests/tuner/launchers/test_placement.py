"""Where workers go: nodes are filled one after another, GPUs are shared as Ray counts them."""

import pytest

from tuner.errors import UsageError
from tuner.workers.launchers.placement import find_gpus, find_room, share_out


@pytest.mark.parametrize(
    ("free", "n_missing", "shares"),
    [
        pytest.param({"a": 4, "b": 4}, 6, {"a": 4, "b": 2}, id="fills one after another"),
        pytest.param({"a": 4, "b": 4}, None, {"a": 4, "b": 4}, id="auto takes all"),
        pytest.param({"a": 0, "b": 1}, 3, {"b": 1}, id="what does not fit waits"),
        pytest.param({"a": 4}, 0, {}, id="none missing"),
        pytest.param({"a": -1}, None, {}, id="a node that has shrunk"),
    ],
)
def test_workers_are_shared_out(
    free: dict[str, int], n_missing: int | None, shares: dict[str, int]
) -> None:
    """Few nodes read the data; no node gets more than it has room for."""
    assert share_out(free, n_missing) == shares


@pytest.mark.parametrize(
    ("resources", "gpus", "room"),
    [
        ({"CPU": 8.0}, 0, 8),
        ({"CPU": 8.0}, 0.25, 0),
        ({"CPU": 8.0, "GPU": 1.0}, 0.25, 4),
        ({"CPU": 2.0, "GPU": 1.0}, 0.25, 2),
        ({"CPU": 8.0, "GPU": 3.0}, 1, 3),
        ({"CPU": 8.0, "GPU": 1.0}, 0.1, 8),
        ({}, 0, 0),
    ],
)
def test_a_node_takes_as_many_workers_as_cpus_and_gpus_allow(
    resources: dict[str, float], gpus: float, room: int
) -> None:
    """A CPU a worker, and its share of a GPU if it wants one."""
    assert find_room(resources, gpus) == room


def test_a_crew_asks_for_a_fraction_of_one_gpu_or_whole_ones() -> None:
    """Ray refuses 1.5 GPUs."""
    assert [find_gpus(n, 0.25) for n in (2, 4, 6)] == [0.5, 1.0, 2.0]


def test_sqlite_is_refused_where_others_cannot_reach_it() -> None:
    """One line with the remedy; a cluster on this host alone may have it."""
    ray = pytest.importorskip("tuner.workers.launchers.ray")
    ray._check_reachable("sqlite:///a.db", {ray.socket.gethostname()})
    ray._check_reachable("postgresql://u:secret@db/tuner", {"a", "b"})
    with pytest.raises(UsageError, match="has 2 hosts: use --storage postgresql://"):
        ray._check_reachable("sqlite:///a.db", {"a", "b"})
