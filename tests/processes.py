"""Who has started whom, from /proc: the trainers of a coordinator, to be killed or frozen."""

from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def parent_of(pid: int) -> int:
    """Return the process that has started another, which runs."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def trainers_of(coordinator: int) -> list[int]:
    """Return the trainers of a coordinator: what its fork server has started."""
    return [trainer for server in children_of(coordinator) for trainer in children_of(server)]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
