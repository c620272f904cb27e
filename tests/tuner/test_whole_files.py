"""Files are written whole or not at all, with their permissions, and through nobody's link."""

import resource
from pathlib import Path

import pytest

from tuner.answer.export import write_file
from tuner.whole_files import whole_file


def test_file_keeps_its_permissions(tmp_path: Path) -> None:
    """What was closed to others stays so; a new file is as the umask says."""
    file, plain = tmp_path / "best.json", tmp_path / "plain"
    file.touch(mode=0o600)
    plain.touch()
    write_file(file, "{}")
    write_file(tmp_path / "new.json", "{}")
    assert file.read_text() == "{}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new.json").stat().st_mode == plain.stat().st_mode


def test_planted_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """Neither the name itself nor any beside it leads elsewhere."""
    other, file = tmp_path / "other", tmp_path / "trial-1.pt"
    other.write_text("theirs")
    file.symlink_to(other)
    with whole_file(file) as stream:
        stream.write(b"ours")
    assert other.read_text() == "theirs"
    assert not file.is_symlink()
    assert file.read_text() == "ours"


def test_disk_without_space_leaves_what_was_there(tmp_path: Path) -> None:
    """And nothing beside it that would take the rest of the space."""
    file = tmp_path / "trial-1.pt"
    file.write_text("before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="large"), whole_file(file) as stream:
            stream.write(b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in tmp_path.iterdir()] == ["trial-1.pt"]
    assert file.read_text() == "before"
