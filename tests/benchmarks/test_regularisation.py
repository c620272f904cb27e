"""What the benchmark of regularisers makes of accuracies that are made up here."""

from pathlib import Path

import pytest

from benchmarks.regularisation import (
    COMBINED,
    METHODS,
    SINGLE,
    TASKS,
    Amounts,
    Found,
    build_section,
    draw,
    make_spec,
)

_TASK = TASKS[1]


def test_section_has_gains_paired_by_study_and_the_best_of_each_kind() -> None:
    """A combination is held against the best single regulariser, with the error of the pairs."""
    found = {(_TASK.name, method): [Found(90.0, 80.0), Found(92.0, 80.0)] for method in METHODS}
    found[_TASK.name, "dropout"] = [Found(91.0, 79.0), Found(94.0, 81.0)]
    found[_TASK.name, "L2 + dropout"] = [Found(91.5, 81.0), Found(93.5, 82.0)]
    section = build_section(Amounts((_TASK,)), found)
    cells = {row[0]: row[1] for row in section.rows}
    assert cells["none"] == "91.00 ± 1.00"
    assert cells["dropout"] == "92.50 ± 1.50 (+1.50 ± 0.50)"
    by_test, by_validation = section.figures
    assert (by_test.value, by_test.aim, by_test.is_reached) == (0.0, -0.5, True)
    # Of the single ones the first study chooses any but dropout, the second dropout.
    assert by_validation.value == pytest.approx((91.5 - 90.0 + 93.5 - 94.0) / 2)
    assert {*SINGLE, *COMBINED} < set(METHODS)


def test_picture_is_drawn(tmp_path: Path) -> None:
    """A panel a task."""
    raw = {_TASK.name: {method: [90.0, 92.0] for method in METHODS}}
    draw(raw, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("method", METHODS)
def test_each_regulariser_is_a_study(method: str) -> None:
    """What it searches is what it is called by, with a learning rate."""
    space = make_spec(Amounts((_TASK,)), _TASK, method, 0).facts.space or {}
    assert "lr" in space
    assert len(space) >= 2
