"""The temporary folder of trials' models."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import clean_environment
from tuner.models_folder import temporary_models

_HOLD = """
from tuner.models_folder import temporary_models
with temporary_models() as folder:
    (folder / "7.pt").touch()
    print(folder, flush=True)
    input()
"""


def _start(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    """Return a process that holds a folder, which was made an hour ago."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD],
        env=clean_environment(TMPDIR=str(temporary)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    hour_ago = folder.stat().st_mtime - 3600
    os.utime(folder, (hour_ago, hour_ago))
    return process, folder


def test_folder_of_a_killed_process_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process still uses stays, as does what is not a folder of ours."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    theirs = tmp_path / "tuner-models-theirs"
    theirs.symlink_to(tmp_path)
    (killed, left), (alive, used) = _start(tmp_path), _start(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.exists()
    with temporary_models() as own:
        assert {*tmp_path.iterdir()} == {theirs, used, own}
        assert (used / "7.pt").exists()
    alive.communicate("\n", timeout=300)
    assert [*tmp_path.iterdir()] == [theirs]
