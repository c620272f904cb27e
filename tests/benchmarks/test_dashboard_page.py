"""What a page of the dashboard costs the database, on a study that is thinned out."""

import pytest

from benchmarks.dashboard_page import measure_costs, prepare

_N_TRIALS = 150


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a file with the study."""
    url = f"sqlite:///{tmp_path_factory.mktemp('pages') / 'tuner.db'}"
    prepare(url, _N_TRIALS)
    return url


def test_refresh_of_a_page_reads_no_finished_trial_again(url: str) -> None:
    """Only what was unfinished or is new is read, and the study; and little is sent."""
    costs = measure_costs(url, _N_TRIALS)
    assert costs["first"].n_rows > _N_TRIALS
    for name in ("refresh", "refresh, 8 trials running"):
        assert costs[name].n_rows < _N_TRIALS / 2, name
        assert costs[name].n_statements < 25, name
        assert costs[name].n_bytes_sent < costs["first"].n_bytes_sent, name
