"""The file of an SQLite database: whether it is still there, what it lies on, who may read it."""

import functools
import logging
import os
import stat
from pathlib import Path

from sqlalchemy import Engine, event

from storage.errors import ReplacedError

logger = logging.getLogger(__name__)

# Their locks may do nothing, or not reach other hosts: see SQLite's "How To Corrupt An SQLite
# Database File", 2. Of FUSE each has its own; what is a disk's (fuseblk) has them.
_NETWORKS = ("nfs", "cifs", "smb", "fuse.", "9p", "afs", "ceph", "gluster", "lustre", "beegfs")
_MOUNTS = Path("/proc/self/mounts")


def watch_file(engine: Engine, file: Path) -> None:
    """Let nobody use a database whose file is gone, or another: what they write would be lost.

    A look takes 2 microseconds. SQLite itself goes on with a file that has no name any more, and
    makes an empty one where it has to open it.
    """
    opened = _identify(file)

    def look(*_: object) -> None:
        found = _identify(file)
        if found != opened:
            became = "removed" if found is None else "replaced by another"
            raise ReplacedError(
                f"The database {file} was {became} while it was in use: nothing can be written to "
                "it any more, and what was finished is only where the file is now; put it back, or "
                "a copy by `tuner storage restore`, and start again"
            )

    event.listen(engine, "do_connect", look)
    event.listen(engine, "checkout", look)


def _identify(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from another of its name; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@functools.cache
def warn_of_network(file: Path) -> None:
    """Log a warning, once, if a database lies where locks cannot be trusted."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # not Linux
    kind = find_file_system(file.resolve(), mounts)
    if kind.startswith(_NETWORKS):
        logger.warning(
            "The database %s lies on %s, whose locks may not hold between processes or hosts: "
            "trials can be lost; put it on a disk of this machine, or use PostgreSQL or MariaDB",
            file,
            kind,
        )


def find_file_system(file: Path, mounts: str) -> str:
    """Return the kind of file system that a path lies on, by the lines of /proc/mounts."""
    depth, found = -1, ""
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split(" ")
        mount = Path(where.replace("\\040", " "))
        if len(mount.parts) >= depth and file.is_relative_to(mount):  # the last of equal ones
            depth, found = len(mount.parts), kind
    return found


def close_to_others(file: Path) -> bool:
    """Take an SQLite database from all but its owner; tell whether others had it.

    SQLite gives the permissions to what it writes beside it. Raises OSError.
    """
    mode = stat.S_IMODE(file.stat().st_mode)
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return False
    for each in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        if each.exists():
            os.chmod(each, mode & stat.S_IRWXU)
    return True
