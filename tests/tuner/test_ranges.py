"""Ranges by name: read from texts, given to whose they are, compared with those of a study."""

from pathlib import Path
from typing import Any

import pytest

from objectives import Facts
from objectives.shorthand import read_range
from storage import create_storage
from tuner.errors import ContradictionError, UsageError
from tuner.ranges import read_ranges, read_values, take_ranges
from tuner.spec import Spec, build_spec, check_same_spec
from tuner.study import create_or_resume
from tuner.train import TrainRequest, has_test_part, plan_training, train_once
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.jobs import look_at_new
from tuner.workers.shutdown import Leaving

_PROBLEM = """
import torch
from torch import nn
from tuner import Problem

inputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))

def network(width):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 1))

problem = Problem(network, (inputs, inputs.prod(1)), epochs=1)

def function(trial):
    return trial.suggest_float("x", 0, 1)
"""


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("lr=1e-3..1e-1", (1e-3, 1e-1)),
        ("width=8..64", (8, 64)),
        ("width = 8 .. 64:log", (8, 64, "log")),
        ("dropout=0.0..0.5", (0.0, 0.5)),
        ("shift=-1.5..-.5", (-1.5, -0.5)),
        ("width=8,16,32", [8, 16, 32]),
        ("act=relu,None,True,0.5", ["relu", None, True, 0.5]),
    ],
)
def test_range_is_read_as_a_problem_would_state_it(text: str, stated: Any) -> None:
    """Whole numbers stay whole; words are texts, but for Python's constants."""
    (found,) = read_ranges([text]).values()
    assert found == stated
    assert list(map(type, found)) == list(map(type, stated))


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["width"], "write NAME=LOW..HIGH"),
        (["=1..2"], "write NAME=LOW..HIGH"),
        (["two words=1..2"], "write NAME=LOW..HIGH"),
        (["width=8"], "write NAME=LOW..HIGH"),
        (["width=8,,9"], "write NAME=LOW..HIGH"),
        (["width=8..9:lin"], "':log'"),
        (["width=8..many"], "is no range"),
        (["width=64..8"], "is no range"),
        (["lr=1e-3..inf"], "is no range"),
        (["dropout=0..0.5:log"], "0 < low"),
        (["width=1..2", "width=1..2"], "width is given twice"),
    ],
)
def test_text_that_is_no_range_is_refused_in_one_line(texts: list[str], reason: str) -> None:
    """With the text itself."""
    with pytest.raises(UsageError, match=reason) as raised:
        read_ranges(texts)
    assert repr(texts[-1]) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_range_that_two_options_give_is_refused() -> None:
    """Neither of them would be the obvious one."""
    with pytest.raises(UsageError, match="give one of them"):
        take_ranges({"lr": (0.1, 1.0), "search": {"lr": (0.1, 0.5)}})


def test_built_in_objective_takes_the_ranges_it_knows() -> None:
    """They are the fields that `--weight-decay` and `--lr` set; others have a nearest name."""
    asked = {"search": {"weight_decay": (1e-4, 1e-3, "log")}}
    spec = build_spec(asked)
    assert spec == Spec(weight_decay=(1e-4, 1e-3))
    check_same_spec("s", spec, asked)
    with pytest.raises(ContradictionError, match=r"0\.0001 0\.001, not 0\.0001 0\.01"):
        check_same_spec("s", spec, {"search": {"weight_decay": (1e-4, 1e-2)}})
    with pytest.raises(UsageError, match="did you mean 'weight_decay'"):
        build_spec({"search": {"weigt_decay": (1e-4, 1e-3)}})
    chosen = build_spec({"search": {"lr": [0.1, 0.2], "dropout": (0.0, 0.5)}})
    assert (chosen.facts.space or {}).keys() == {"weight_decay", "lr", "dropout"}
    assert build_spec(chosen.model_dump(exclude_defaults=True)) == chosen


def test_resumed_problem_keeps_its_ranges() -> None:
    """The same ones resume it, whichever option gives them; others are refused by name."""
    space = {"width": read_range("width", (8, 64)), "lr": read_range("lr", (1e-3, 1e-1))}
    stored = Spec(objective="m:problem", problem=Facts(space=space))
    check_same_spec("s", stored, {"search": {"width": (8, 64), "lr": (1e-3, 1e-1)}})
    check_same_spec("s", stored, {"lr": (1e-3, 1e-1)})
    for options, reason in (
        ({"search": {"width": (8, 32)}}, "with width 8 to 64, not width 8 to 32"),
        ({"lr": (1e-3, 1.0)}, "with lr 0.001 to 0.1, log, not lr 0.001 to 1, log"),
        ({"search": {"widht": (8, 64)}}, "did you mean 'width'"),
    ):
        with pytest.raises(ContradictionError, match=reason):
            check_same_spec("s", stored, options)


def test_search_states_what_a_problem_left_open(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model's argument has no range of its own: a worker, too, tries it with the study's."""
    (tmp_path / "mine.py").write_text(_PROBLEM)
    monkeypatch.chdir(tmp_path)
    asked = {"objective": "mine:problem", "search": {"width": [8, 16]}, "lr": (1e-2, 1e-1)}
    found = look_at_new(sqlite_url, "s", asked)
    loaded = create_or_resume(create_storage(sqlite_url), "s", found, n_trials=2)
    assert run_worker(WorkerConfig(sqlite_url, "s"), Leaving()) == 0
    assert {trial.params["width"] for trial in loaded.own_trials()} <= {8, 16}
    assert create_or_resume(loaded.storage, "s", asked).spec == loaded.spec
    with pytest.raises(UsageError, match="--search has no effect on mine:function"):
        look_at_new(sqlite_url, "f", {"objective": "mine:function", "search": {"x": (0.0, 0.5)}})


def test_training_outside_of_a_search_needs_all_that_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is named with its range; its values have the metric's name."""
    (tmp_path / "mine.py").write_text(
        _PROBLEM.replace("epochs=1", "epochs=1, test=0, metric='mae'")
    )
    monkeypatch.chdir(tmp_path)
    options, params = {"objective": "mine:problem"}, {"width": 4, **read_values(["lr=0.1"])}
    with pytest.raises(UsageError, match=r"weight_decay 1e-05 to 0\.01, log: give --wei"):
        plan_training(options, params)
    params["weight_decay"] = 0.0
    spec = plan_training(options, params)
    assert spec.facts.metric.name == "validation mae"
    assert not has_test_part(spec)
    ((result, value),) = train_once(spec, params, TrainRequest(tmp_path, "cpu", 1))
    assert value == result.value > 0


def test_built_in_objective_trains_with_its_own_parameters_alone() -> None:
    """Each that is missing or unknown is named."""
    with pytest.raises(UsageError, match=r"lr 0\.001 to 1, log: give --lr X"):
        plan_training({}, {"weight_decay": 0.0})
    with pytest.raises(UsageError, match="did you mean 'width'"):
        plan_training({}, {"weight_decay": 0.0, "lr": 0.1, "widht": 3})
    with pytest.raises(UsageError, match="write NAME=VALUE"):
        read_values(["width"])
