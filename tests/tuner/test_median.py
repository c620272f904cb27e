"""Our median pruner decides as Optuna's does, on any history."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from storage import create_storage
from tests.tuner.histories import ENDS, random_states, random_trial, twins
from tuner.sampling.median import IncrementalMedianPruner, _Step, find_settled

# Optuna's own computation warns where all values of a step, or of the trial, are NaN.
pytestmark = pytest.mark.filterwarnings("ignore:All-NaN", "ignore:invalid value", "ignore:overflow")


def _decide_in_turn(study: optuna.Study, n: int, seed: int) -> list[bool]:
    """Report to n trials, up to four at a time, which finish out of order; return decisions."""
    rng = np.random.default_rng(seed)
    running: list[tuple[optuna.Trial, list[int]]] = []
    decisions = []
    for _ in range(n):
        running.append((study.ask(), rng.permutation(8).tolist()))
        for trial, steps in running:
            decisions.append(trial.should_prune())  # at first before any report
            if steps:
                odd = rng.choice([math.nan, math.inf, -math.inf, 0.1, 0.5])
                value = odd if rng.uniform() < 0.2 else rng.uniform()
                trial.report(float(value), steps.pop())
                decisions.append(trial.should_prune())
        while len(running) > rng.integers(5):
            ended, _ = running.pop(rng.integers(len(running)))
            state = ENDS[rng.choice(3, p=[0.6, 0.3, 0.1])]
            study.tell(ended, 1.0 if state == TrialState.COMPLETE else None, state)
    return decisions


def _assert_same_decisions(studies: tuple[optuna.Study, optuna.Study], n: int, seed: int) -> None:
    mine, theirs = (_decide_in_turn(study, n, seed) for study in studies)
    assert mine == theirs


@pytest.mark.parametrize("seed", range(30))
def test_decisions_after_any_history_are_optunas(seed: int) -> None:
    """Ties, NaN, infinities, missing steps, all states and both directions: the same answers."""
    rng = np.random.default_rng(seed)
    trials = [random_trial(rng, state) for state in random_states(rng, int(rng.integers(301)))]
    pruners = {"pruner": IncrementalMedianPruner()}, {"pruner": MedianPruner()}
    direction = ["minimize", "maximize"][seed % 2]
    _assert_same_decisions(twins(trials, direction, *pruners), 10, seed)


def test_decisions_with_several_running_are_optunas() -> None:
    """From the first of 150 trials on, and both answers occur."""
    pruners = {"pruner": IncrementalMedianPruner()}, {"pruner": MedianPruner()}
    studies = twins([], "maximize", *pruners)
    _assert_same_decisions(studies, 150, 1)
    assert len({_decide_in_turn(studies[0], 1, seed)[-1] for seed in range(20)}) == 2


@pytest.mark.parametrize("seed", range(10))
def test_settled_pruner_decides_the_same_without_the_study(seed: int) -> None:
    """Until another trial ends; it goes to another process as a pickle."""
    rng = np.random.default_rng(seed)
    trials = [random_trial(rng, state) for state in random_states(rng, int(rng.integers(301)))]
    options = {"n_min_trials": int(rng.integers(1, 4)), "n_startup_trials": int(rng.integers(9))}
    pruners = {"pruner": IncrementalMedianPruner(**options)}, {"pruner": MedianPruner(**options)}
    mine, theirs = twins(trials, ["minimize", "maximize"][seed % 2], *pruners)
    settled = find_settled(mine)
    nobodys = optuna.create_study(
        direction=mine.direction, pruner=pickle.loads(pickle.dumps(settled))
    )
    decisions = []
    for study in (nobodys, theirs):
        values = np.random.default_rng(seed)
        trial = study.ask()
        decisions.append([])
        for step in range(10):
            trial.report(float(values.uniform()), step)
            decisions[-1].append(trial.should_prune())
    assert decisions[0] == decisions[1]


def test_pruner_with_too_many_steps_or_of_another_kind_settles_nothing() -> None:
    """Its coordinator is asked, then; the one that prunes nothing is its own."""
    study = optuna.create_study(pruner=IncrementalMedianPruner())
    assert find_settled(study) is not None
    values = dict.fromkeys(range(1_001), 0.0)
    study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=values))
    assert find_settled(study) is None
    assert find_settled(optuna.create_study(pruner=MedianPruner())) is None
    nop = optuna.pruners.NopPruner()
    assert find_settled(optuna.create_study(pruner=nop)) is nop


@pytest.mark.parametrize(
    "options",
    [
        {"n_startup_trials": 0},
        {"n_startup_trials": 30},
        {"n_warmup_steps": 3},
        {"interval_steps": 2},
        {"n_warmup_steps": 1, "interval_steps": 3},
        {"n_min_trials": 10},
    ],
    ids=str,
)
def test_options_mean_what_they_mean_to_optuna(options: dict[str, Any]) -> None:
    """All of MedianPruner's arguments are taken, and decisions stay the same."""
    pruners = {"pruner": IncrementalMedianPruner(**options)}, {"pruner": MedianPruner(**options)}
    _assert_same_decisions(twins([], "minimize", *pruners), 60, 2)


def test_reports_of_nan_count_for_the_least_number_of_trials() -> None:
    """NaN is no value for the median, but a report for ``n_min_trials``, as Optuna has it."""
    done = [
        optuna.trial.create_trial(value=0.0, intermediate_values={0: value})
        for value in (0.1, 0.2, math.nan, math.nan, math.nan)
    ]
    pruners = (cls(n_min_trials=4) for cls in (IncrementalMedianPruner, MedianPruner))
    for study in twins(done, "minimize", *({"pruner": pruner} for pruner in pruners)):
        trial = study.ask()
        trial.report(0.3, 0)
        assert trial.should_prune()


@pytest.mark.parametrize("seed", range(20))
def test_median_is_numpys_to_the_last_bit(seed: int) -> None:
    """The pruner compares with < and >, so a last bit can decide."""
    rng = np.random.default_rng(seed)
    step = _Step()
    values = rng.normal(size=rng.choice([0, 1, 300])).tolist()  # few and many at once
    step.add(values)
    for _ in range(40):
        odd = rng.choice([math.inf, -math.inf, math.nan, 0.0, -0.0, 1e308, -1e308])
        values.append(float(odd if rng.uniform() < seed / 20 else rng.normal()))
        step.add(values[-1:])
        np.testing.assert_array_equal(step.median(), np.nanpercentile(values, 50))


def test_recreated_study_is_read_anew(sqlite_url: str) -> None:
    """SQLite gives a deleted study's ids to the next one; its trials are not the old ones."""
    pruner = IncrementalMedianPruner()
    decisions = []
    storage = create_storage(sqlite_url)
    for value in (0.0, 1.0):
        study = optuna.create_study(storage=storage, study_name="s", pruner=pruner)
        done = optuna.trial.create_trial(value=value, intermediate_values={0: value})
        study.add_trials([done] * 5)
        trial = study.ask()
        trial.report(0.5, 0)
        decisions.append((study._study_id, trial.should_prune()))
        optuna.delete_study(study_name="s", storage=storage)
    assert decisions == [(1, True), (1, False)]


def test_copied_pruner_decides_as_the_original() -> None:
    """A pruner in use can be copied, as Optuna's can."""
    pruner = IncrementalMedianPruner()
    studies = twins([], "minimize", {"pruner": pruner}, {"pruner": MedianPruner()})
    _assert_same_decisions(studies, 20, 3)
    studies[0].pruner = copy.deepcopy(pruner)
    _assert_same_decisions(studies, 20, 4)
