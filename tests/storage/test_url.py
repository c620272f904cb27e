"""Storage URLs are read as people write them, and never shown with a password."""

from pathlib import Path

import pytest

from storage import BadUrlError, mask_url, parse_url, with_password


@pytest.mark.parametrize(
    ("written", "driver"),
    [
        ("sqlite:///tuner.db", "sqlite"),
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("mysql://u@h/d", "mysql+pymysql"),
        ("mariadb://u@h/d", "mysql+pymysql"),
    ],
)
def test_url_as_people_write_it_gets_a_shipped_driver(written: str, driver: str) -> None:
    """Every spelling that other tools take means the driver that our extras install."""
    assert parse_url(written).drivername == driver


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("tuner.db", "cannot be parsed"),
        ("oracle://u:s3cret@h/d", "'oracle'"),
        ("redis://h", "'redis'"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://u:s3cret@h", "names no database"),
    ],
)
def test_url_that_cannot_work_is_refused_without_its_password(written: str, said: str) -> None:
    """A URL that no worker could use is refused by name, and its password stays unsaid."""
    with pytest.raises(BadUrlError, match=said) as raised:
        parse_url(written)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "written",
    [
        "postgresql://user:s3cret@host/db",
        "postgresql://host/db?user=u&password=s3cret",
        "mysql://user:s3cret@host/db?passwd=s3cret",
    ],
)
def test_mask_url_with_password_anywhere_hides_it(written: str) -> None:
    """A password is hidden in the authority and in the query, the rest stays readable."""
    masked = mask_url(written)
    assert "s3cret" not in masked
    assert "host/db" in masked


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"], ids=repr)
def test_password_file_fills_in_a_url_as_images_of_databases_do(
    tmp_path: Path, ending: str
) -> None:
    """Any password does, without the newlines that editors and `echo` put at the end."""
    file = tmp_path / "password"
    file.write_bytes(f"s3:cr/e@t% é{ending}".encode())
    url = parse_url(with_password("postgresql://u@h/d", file))
    assert (url.username, url.password, url.host, url.database) == ("u", "s3:cr/e@t% é", "h", "d")


@pytest.mark.parametrize(
    ("written", "content", "said"),
    [
        ("sqlite:///tuner.db", b"s3cret", "has no password"),
        ("postgresql://u:s3cret@h/d", b"s3cret", "has a password already"),
        ("mysql://u@h/d?passwd=s3cret", b"s3cret", "has a password already"),
        ("postgresql://h/d", b"s3cret", "names no user"),
        ("postgresql:///d?host=/tmp", b"s3cret", "names no user"),
        ("postgresql://u@h/d", b"\n", "holds no password"),
        ("postgresql://u@h/d", b"s3cret\0", "holds no password"),
        ("postgresql://u@h/d", b"s3cret\xff", "is not text"),
        ("postgresql://u@h/d", None, "No such file"),
    ],
)
def test_password_file_that_cannot_be_meant_is_refused(
    tmp_path: Path, written: str, content: bytes | None, said: str
) -> None:
    """One line says why, without what is in the file."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadUrlError, match=said) as raised:
        with_password(written, file)
    assert "s3cret" not in str(raised.value)
