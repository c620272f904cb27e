"""What the benchmark of searches makes of searches on a measured table."""

from pathlib import Path

import pytest

from benchmarks.search import (
    BUDGETS,
    IN_FLIGHT,
    TABLES,
    Searched,
    Way,
    compare,
    draw,
    measure,
    read_results,
    search,
    tabulate,
    write_results,
    write_text,
)

_WAYS = [
    Way(table, sampler, pruner, n)
    for table in TABLES.values()
    for sampler, pruner in (("tpe", "median"), ("random", "none"))
    for n in IN_FLIGHT
]


def test_search_stops_beginning_when_its_budget_is_trained() -> None:
    """What has begun is finished: at most one training more for each that is in flight."""
    found = search(Way("mnist", "random", "none", 8), seed=1)
    for budget, searched in found.items():
        assert budget <= searched.trainings < budget + 8 * 2
        assert searched.n_trials == searched.trainings  # nobody prunes
        assert min(searched.confirmed, searched.best_trial) > -0.05  # the table's best is the best
    assert found == search(Way("mnist", "random", "none", 8), seed=1)


def test_pruned_search_tries_more_with_the_same_budget() -> None:
    """What pruning saves goes to other trials."""
    found = search(Way("mnist", "random", "median", 8), seed=1)[100]
    assert found.n_trials > 1.5 * found.trainings


def _results(regret: float) -> dict[int, Searched]:
    return {n: Searched(regret, 2 * regret, n, float(n)) for n in BUDGETS}


def test_tables_leave_out_more_in_flight_than_twice_the_budget(tmp_path: Path) -> None:
    """A cell has both regrets and what was trained; figures hold the defaults against random."""
    found = {way: [_results(0.1), _results(0.3)] for way in _WAYS}
    rows = tabulate(found)
    assert {row["budget"] for row in rows if row["n_in_flight"] == 256} == {200}
    figures = compare(rows)
    assert [figure.value for figure in figures] == [0.0] * 4
    assert figures[0].aim == pytest.approx(0.141, abs=1e-3)
    text = write_text(rows)
    assert "| tpe | median | 0.20 ± 0.10 / 0.40 (200) |" in text
    draw(rows, tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_found_before_is_not_searched_again(tmp_path: Path) -> None:
    """The same results come of the file, and only missing repetitions are searched."""
    file, way = tmp_path / "search.csv.gz", Way("mnist", "random", "none", 8)
    found = {way: [_results(0.1)]}
    write_results(found, file)
    again = read_results(file)
    assert again[way] == found[way]
    assert sum(map(len, again.values())) == 1
    assert [None for _ in measure({way: again[way]}, 1, 1)] == []
    mine = {way: again[way]}
    assert [None for _ in measure(mine, 2, 1)] == [None]
    assert mine[way] == [_results(0.1), search(way, seed=1)]
