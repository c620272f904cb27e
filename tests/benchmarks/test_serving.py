"""The benchmark of the service: its clients poll, its viewers watch, and its tables say so."""

from pathlib import Path

import pytest

from benchmarks.polling import BEST, KNOWN, STATUS, Load
from benchmarks.serving import Size, measure_serving, tables
from benchmarks.watching import Plan
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _find_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_clients_are_answered_and_share_what_is_read(tmp_path: Path) -> None:
    """Each endpoint is asked by each client, no answer fails, and many at once cost few reads."""
    size = Size(30, Load(5, 1.0, 0.2), Load(5, 0.5, 0), None)
    served = measure_serving(None, size, tmp_path, tmp_path)
    for polled in (served.paced, served.unpaced):
        assert polled.failures == []
        assert set(polled.latencies) == {STATUS, BEST, KNOWN}
    assert len(served.paced.all_latencies) == 25
    for statements in served.statements.values():
        assert statements.alone > statements.following == 1  # who asks, always
        assert statements.of_many < 0.2
    assert "| SQLite: p95, 5 clients that ask once a second |" in tables([served])


@pytest.mark.long
def test_training_goes_on_while_people_watch(tmp_path: Path, mnist_dir: Path) -> None:
    """A worker's epochs are counted with viewers and without; their requests are answered."""
    size = Size(30, Load(2, 0.2, 0.1), Load(2, 0.2, 0), Plan(2, 1, 6.0))
    served = measure_serving(None, size, mnist_dir, tmp_path)
    watched = served.watched
    assert watched is not None
    assert watched.n_requests >= 2 * 2
    assert [len(rounds) for rounds in (watched.alone, watched.watched)] == [1, 1]
    assert watched.ratios[0] > 0.1
    assert "| SQLite | watched | 1 |" in tables([served])
