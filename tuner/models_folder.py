"""A temporary folder for trials' models, which does not outlive whoever was killed with it."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX, _LOCK = "tuner-models-", ".lock"
_YOUNG_SECONDS = 60.0  # one that has been made just now may not be locked yet


@contextlib.contextmanager
def temporary_models() -> Iterator[Path]:
    """Yield an empty folder, removed at the end; also remove what killed processes have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):  # gone meanwhile, or in use
            _remove_if_left(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name, FileLock(Path(name, _LOCK)):
        yield Path(name)


def _remove_if_left(folder: Path) -> None:
    made = folder.lstat()
    is_left = made.st_uid == os.getuid() and time.time() - made.st_mtime > _YOUNG_SECONDS
    if is_left and (folder / _LOCK).exists():
        with FileLock(folder / _LOCK, blocking=False):
            shutil.rmtree(folder)
