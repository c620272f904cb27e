"""What an SQLite file lies on, and who may read it."""

from pathlib import Path

import pytest

from storage import close_to_others, create_storage
from storage.sqlite_files import find_file_system, warn_of_network

_MOUNTS = r"""/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/fast tmpfs rw 0 0
me@host: /home/me/far\040away fuse.sshfs rw 0 0
overlay /home/twice overlay rw 0 0
//server/share /home/twice cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/tuner.db", "ext4"),
        ("/homes/tuner.db", "ext4"),
        ("/home/me/tuner.db", "nfs4"),
        ("/home/me/fast/tuner.db", "tmpfs"),
        ("/home/me/far away/tuner.db", "fuse.sshfs"),
        ("/home/twice/tuner.db", "cifs"),
    ],
)
def test_file_system_is_that_of_the_innermost_mount(file: str, kind: str) -> None:
    """Of two at one place the later one."""
    assert find_file_system(Path(file), _MOUNTS) == kind


@pytest.mark.parametrize(("kind", "n_warnings"), [("nfs4", 1), ("fuse.sshfs", 1), ("ext4", 0)])
def test_database_without_locks_to_trust_is_said_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    n_warnings: int,
) -> None:
    """Whoever creates a study there, or works on it, is told what may happen."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"somewhere / {kind} rw 0 0\n")
    monkeypatch.setattr("storage.sqlite_files._MOUNTS", mounts)
    warn_of_network.cache_clear()
    for _ in range(2):
        create_storage(f"sqlite:///{tmp_path / 'tuner.db'}")
    told = [record.message for record in caplog.records if "locks may not hold" in record.message]
    assert len(told) == n_warnings
    warn_of_network.cache_clear()


def test_database_is_closed_to_others_with_all_that_is_beside_it(tmp_path: Path) -> None:
    """While it is open, and what comes later too."""
    file = tmp_path / "tuner.db"
    engine = create_storage(f"sqlite:///{file}").engine
    for each in tmp_path.glob("tuner.db*"):
        each.chmod(0o664)
    with engine.connect():
        assert close_to_others(file)
    assert not close_to_others(file)
    engine.dispose()
    with create_storage(f"sqlite:///{file}").engine.connect():
        found = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.glob("tuner.db*")}
    del found["tuner.db.lock"]  # empty
    assert found == dict.fromkeys(("tuner.db", "tuner.db-wal", "tuner.db-shm"), 0o600)
