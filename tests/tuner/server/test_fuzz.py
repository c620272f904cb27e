"""The API answers whatever its OpenAPI document allows, and whatever it does not, as it says."""

from pathlib import Path

import pytest

from benchmarks.service import serving
from storage import Role, create_storage, create_token
from tests.conftest import ROOT


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # schemathesis' own
def test_fuzzed_api_never_fails_and_a_viewer_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short run as each role; `python -m benchmarks.fuzz` is the long one."""
    from benchmarks.fuzz import fuzz  # a second, in the process that runs this test

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    engine = create_storage(url).engine
    create_token(engine, Role.ADMIN)
    with serving(url, tmp_path) as server:
        tally = fuzz(server.url, engine, n_cases=200)
    assert tally.n_cases >= 150
    assert tally.n_5xx == 0
    assert tally.failures == []
    assert {200, 201, 204, 403, 404, 422} <= set(tally.statuses)
