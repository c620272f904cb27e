"""Tests that share what is slow to set up are kept together by xdist."""

import pytest


@pytest.mark.xdist_group("kept")
def test_group_is_what_xdist_reads_it_from(request: pytest.FixtureRequest) -> None:
    """The end of a test's id: where pytest does not let it be set, each process sets all up."""
    is_grouped = request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.endswith("@kept") == is_grouped
