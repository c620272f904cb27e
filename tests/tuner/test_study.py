"""A study is created once with its spec, and resumed with the same; samplers come from it."""

import math

import optuna
import pytest

from objectives import Facts
from objectives.shorthand import read_range
from storage import create_storage
from tuner.errors import StudyNotFoundError, UsageError
from tuner.samplers import make_pruner, make_sampler
from tuner.sampling.grid import Grid, find_points, find_shape
from tuner.space import find_space, read_space, suggest
from tuner.spec import build_spec
from tuner.study import create_or_resume, load_study

DIGITS = {"dataset": "digits", "epochs": 2}


def test_study_created_twice_is_one_study(shared_url: str) -> None:
    """The second call resumes; without --trials the budget stays as it was."""
    storage = create_storage(shared_url)
    first = create_or_resume(storage, "twice", DIGITS, n_trials=7)
    second = create_or_resume(storage, "twice", {})
    assert second.study_id == first.study_id
    assert second.spec == first.spec
    assert second.load_budget().n_trials == 7


def test_study_of_a_function_is_resumed_with_another_budget(sqlite_url: str) -> None:
    """Defaults that a function has no use for are not held against it."""
    storage = create_storage(sqlite_url)
    options = {"objective": "tests.chaos.objective:bowl"}
    create_or_resume(storage, "function", options, n_trials=7)
    assert create_or_resume(storage, "function", {}, n_trials=9).load_budget().n_trials == 9
    assert create_or_resume(storage, "function", options).load_budget().n_trials == 9


def test_study_of_half_dead_creator_is_taken_over(sqlite_url: str) -> None:
    """A study without spec and trials is what a killed creator leaves: it is completed."""
    storage = create_storage(sqlite_url)
    optuna.create_study(storage=storage, study_name="half", direction="maximize")
    assert create_or_resume(storage, "half", DIGITS).spec.epochs == 2


def test_study_of_another_program_is_left_alone(sqlite_url: str) -> None:
    """A study with trials but without a spec is not ours to change."""
    storage = create_storage(sqlite_url)
    study = optuna.create_study(storage=storage, study_name="foreign")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(StudyNotFoundError, match="another program"):
        create_or_resume(storage, "foreign", DIGITS)


def test_missing_study_is_named_with_those_there_are(sqlite_url: str) -> None:
    """A misspelt name is easy to mend."""
    storage = create_storage(sqlite_url)
    create_or_resume(storage, "digits", DIGITS)
    with pytest.raises(StudyNotFoundError, match=r"no study 'digit'.*it holds digits"):
        load_study(storage, "digit")


def test_budget_of_no_trials_is_refused(sqlite_url: str) -> None:
    """Zero trials is a mistake, and nothing is created for it."""
    storage = create_storage(sqlite_url)
    with pytest.raises(UsageError, match="--trials 0"):
        create_or_resume(storage, "s", DIGITS, n_trials=0)
    assert storage.get_all_studies() == []


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes"])
def test_workers_samplers_begin_with_different_points(sampler: str) -> None:
    """Two workers do not waste their start-up trials on the same points; one worker repeats."""
    spec = build_spec({"sampler": sampler, **DIGITS})

    def first_point(ordinal: int) -> float:
        study = optuna.create_study(sampler=make_sampler(spec, ordinal))
        return study.ask().suggest_float("x", 0, 1)

    assert first_point(0) == first_point(0)
    assert first_point(0) != first_point(1)


def test_grid_reaches_both_ends_of_each_range() -> None:
    """The grid holds the bounds exactly, so none of its points lies outside the range."""
    spec = build_spec({"sampler": "grid", "grid": (3, 2), "weight_decay": (1e-5, 1e-3)})
    sampler = make_sampler(spec)
    study = optuna.create_study(sampler=sampler)
    seen = set()
    for _ in range(6):
        trial = study.ask()
        point = suggest(trial, find_space(spec))
        study.tell(trial, 0.0)
        seen.add((round(point["weight_decay"], 9), point["lr"]))
    assert seen == {(wd, lr) for wd in (1e-5, 1e-4, 1e-3) for lr in (1e-3, 1.0)}


_SPACES = {
    "two": {"weight_decay": (1e-5, 1e-2), "lr": (1e-3, 1.0)},
    "mixed": {"l1": (1e-5, 1e-2), "width": (8, 64, "log"), "act": ["a", "b", None], "off": [0.5]},
    "counted": {"width": (1, 3), "layers": (1, 2)},
}


@pytest.mark.parametrize(
    ("name", "n_trials", "shape"),
    [
        ("two", 20, (5, 4)),
        ("two", 1, (2, 2)),
        ("mixed", 50, (5, 4, 3, 1)),
        ("counted", 50, (3, 2)),
        ("counted", 3, (2, 2)),
    ],
)
def test_grid_over_any_space_is_as_large_as_the_budget(
    name: str, n_trials: int, shape: tuple[int, ...]
) -> None:
    """Choices and small ranges have all their values; each point is one that Optuna takes."""
    space = read_space(Facts(space={n: read_range(n, each) for n, each in _SPACES[name].items()}))
    assert find_shape(space, n_trials) == shape
    points = find_points(space, shape)
    assert tuple(map(len, points.values())) == shape
    study = optuna.create_study(sampler=Grid(points))
    seen = set()
    for _ in range(math.prod(shape)):
        trial = study.ask()
        seen.add(tuple(suggest(trial, space).values()))
        study.tell(trial, 0.0)
    assert len(seen) == math.prod(shape)


def test_problem_is_searched_on_a_grid(sqlite_url: str) -> None:
    """It has stated its space, so that the grid's shape is chosen when its study is created."""
    facts = Facts(space={n: read_range(n, each) for n, each in _SPACES["mixed"].items()})
    options = {"objective": "m:problem", "problem": facts, "sampler": "grid"}
    loaded = create_or_resume(create_storage(sqlite_url), "s", options, n_trials=50)
    assert loaded.spec.grid == (5, 4, 3, 1)
    assert isinstance(make_sampler(loaded.spec), Grid)


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_pruners_are_told_their_resources(pruner: str) -> None:
    """No pruner estimates its resource: each worker would estimate another."""
    spec = build_spec({"pruner": pruner, "epochs": 9})
    assert "auto" not in vars(make_pruner(spec)).values()
