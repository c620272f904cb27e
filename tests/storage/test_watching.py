"""Whoever watches the calls of an engine learns how long each took, and why some failed."""

import time

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from storage import Cause, create_storage, watch_calls
from tests.servers import PrivatePostgres


class _Watched:
    """An engine's calls, as they were told."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = create_storage(url).engine
        self.seconds: list[float] = []
        self.causes: list[Cause] = []
        watch_calls(self.engine, self.seconds.append, self.causes.append)


def test_call_is_told_once_with_all_that_it_took(storage_url: str) -> None:
    """From taking the connection to giving it back, whatever number of statements."""
    watched = _Watched(storage_url)
    before = time.perf_counter()
    with watched.engine.begin() as connection:
        connection.execute(text("SELECT 1"))
        time.sleep(0.05)
        connection.execute(text("SELECT 2"))
    assert len(watched.seconds) == 1
    assert 0.05 <= watched.seconds[0] <= time.perf_counter() - before
    assert watched.causes == []


def test_error_is_told_with_its_cause(storage_url: str) -> None:
    """A statement that cannot work is permanent; its call is told all the same."""
    watched = _Watched(storage_url)
    with (
        pytest.raises(SQLAlchemyError),
        watched.engine.begin() as connection,
    ):
        connection.execute(text("SELECT nothing FROM nowhere"))
    assert watched.causes == [Cause.PERMANENT]
    assert len(watched.seconds) == 1


def test_database_that_cannot_be_reached_is_told_as_an_outage(
    private_postgres: PrivatePostgres,
) -> None:
    """Also where no connection was had."""
    watched = _Watched(private_postgres.url.render_as_string(hide_password=False))
    watched.engine.dispose()
    private_postgres.stop("immediate")
    with pytest.raises(SQLAlchemyError), watched.engine.connect():
        pass
    assert watched.causes == [Cause.OUTAGE]
    assert watched.seconds == []
