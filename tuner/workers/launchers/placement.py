"""How many workers go to which node."""

from collections.abc import Mapping


def share_out(free: Mapping[str, int], n_missing: int | None) -> dict[str, int]:
    """Fill nodes one after another, so that few of them read the data; None: fill them all.

    ``free`` is the number of workers that each node has room for.
    """
    shares = {}
    for node, n_free in free.items():
        n = n_free if n_missing is None else min(n_free, n_missing)
        if n > 0:
            shares[node] = n
            n_missing = None if n_missing is None else n_missing - n
    return shares


def find_room(resources: Mapping[str, float], gpus_per_worker: float) -> int:
    """Return how many workers a node with these resources takes: one for each CPU, if GPUs do."""
    n_cpus = int(resources.get("CPU", 0))
    if not gpus_per_worker:
        return n_cpus
    return min(n_cpus, int(resources.get("GPU", 0) / gpus_per_worker + 1e-9))


def find_gpus(n_workers: int, gpus_per_worker: float) -> float:
    """Return how many GPUs a crew asks for: Ray takes a fraction of one, or whole ones."""
    n_gpus = n_workers * gpus_per_worker
    return n_gpus if n_gpus <= 1 else float(-int(-n_gpus // 1))
