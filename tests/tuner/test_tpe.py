"""Our TPE sampler suggests what Optuna's does, to the last bit, on any history."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import HyperbandPruner
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.trial import FrozenTrial, TrialState

from storage import GIVEN_BACK, create_storage
from tests.tuner.histories import ENDS, SPACE, random_states, random_trial, twins
from tuner.sampling import candidates
from tuner.sampling.observations import ObservedTrials, Question
from tuner.sampling.tpe import IncrementalTPESampler

Samplers = tuple[IncrementalTPESampler, TPESampler]
Suggest = Callable[[optuna.Trial], list[Any]]


def _samplers(**options: Any) -> Samplers:
    ours = IncrementalTPESampler(learns_from_failures=False, seed=7, **options)
    return ours, TPESampler(seed=7, **options)


def _suggest(trial: optuna.Trial) -> list[Any]:
    return [trial._suggest(name, distribution) for name, distribution in SPACE.items()]


def _ask_in_turn(
    studies: tuple[optuna.Study, optuna.Study], n: int, suggest: Suggest = _suggest, seed: int = 0
) -> tuple[list[Any], list[Any]]:
    """Ask both studies for n trials, up to four at a time, that finish out of order."""
    answers: tuple[list[Any], list[Any]] = [], []
    for study, answer in zip(studies, answers, strict=True):
        rng = np.random.default_rng(seed)
        running: list[optuna.Trial] = []
        for _ in range(n):
            trial = study.ask()
            running.append(trial)
            answer.append(suggest(trial))
            while len(running) > rng.integers(5):
                ended = running.pop(rng.integers(len(running)))
                state = ENDS[rng.choice(3, p=[0.6, 0.3, 0.1])]
                ended.report(rng.uniform(), int(rng.integers(5)))
                values = [rng.uniform()] * len(study.directions)
                study.tell(ended, values if state == TrialState.COMPLETE else None, state)
    return answers


def _estimator(values: Any) -> _ParzenEstimator:
    parameters = TPESampler()._parzen_estimator_parameters
    return _ParzenEstimator(dict(zip(SPACE, values, strict=True)), SPACE, parameters)


@pytest.mark.parametrize("seed", range(20))
def test_suggestions_after_any_history_are_optunas(seed: int) -> None:
    """Ties, infinities, pruned, failed, running and waiting trials: equal to the last bit."""
    rng = np.random.default_rng(seed)
    trials = [random_trial(rng, state) for state in random_states(rng, int(rng.integers(301)))]
    ours, optunas = _samplers()
    direction = ["minimize", "maximize"][seed % 2]
    studies = twins(trials, direction, {"sampler": ours}, {"sampler": optunas})
    mine, theirs = _ask_in_turn(studies, 4, seed=seed)
    assert mine == theirs


def test_suggestions_with_several_running_are_optunas() -> None:
    """From the first of 150 trials on, told out of order, each suggestion is Optuna's."""
    ours, optunas = _samplers()
    mine, theirs = _ask_in_turn(twins([], "maximize", {"sampler": ours}, {"sampler": optunas}), 150)
    assert mine == theirs


def test_long_history_takes_no_exact_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a suggestion fast happens: Optuna's own path is not needed, and the same comes."""
    rng = np.random.default_rng(3)
    trials = [random_trial(rng, TrialState.COMPLETE) for _ in range(1500)]
    ours, optunas = _samplers()
    study, oracle = twins(trials, "minimize", {"sampler": ours}, {"sampler": optunas})
    expected = [_suggest(oracle.ask()) for _ in range(3)]

    def refuse(*_: Any) -> None:
        pytest.fail("computed exact densities")

    monkeypatch.setattr(IncrementalTPESampler, "_compute_acquisition_func", refuse)
    assert [_suggest(study.ask()) for _ in range(3)] == expected


def _mixed(trial: optuna.Trial) -> list[Any]:
    return [
        trial.suggest_categorical("kind", ["a", "b", "c"]),
        trial.suggest_int("units", 1, 64, log=True),
        trial.suggest_float("dropout", 0, 0.5, step=0.1),
        trial.suggest_float("lr", 1e-3, 1, log=True),
    ]


def _conditional(trial: optuna.Trial) -> list[Any]:
    kind = trial.suggest_categorical("kind", ["sgd", "adam"])
    high = trial.suggest_float(f"{kind}_lr", 1e-3, 1, log=True)
    return [kind, high, trial.suggest_float("decay", 0, high), trial.suggest_float("x", -1, 1)]


def _constrained(trial: optuna.Trial) -> list[Any]:
    x = trial.suggest_float("x", -1, 1)
    trial.set_constraint("positive", -x)
    return [x, trial.suggest_float("y", 5, 6)]


def _left_out_later(trial: optuna.Trial) -> list[Any]:
    values = [trial.suggest_float("x", -1, 1)]
    if trial.number < 25 or trial.number % 4 == 0:  # else y is suggested to others, then not used
        values.append(trial.suggest_float("y", 1, 2))
    return values


def _one_name_two_ranges(trial: optuna.Trial) -> list[Any]:
    return [trial.suggest_float("x", 0.5, 2 + trial.number % 3), trial.suggest_float("y", 0, 1)]


@pytest.mark.parametrize(
    "suggest", [_mixed, _conditional, _constrained, _left_out_later, _one_name_two_ranges]
)
def test_unusual_spaces_are_sampled_as_by_optuna(suggest: Suggest) -> None:
    """What the fast way does not cover is Optuna's to answer."""
    ours, optunas = _samplers()
    studies = twins([], "minimize", {"sampler": ours}, {"sampler": optunas})
    mine, theirs = _ask_in_turn(studies, 40, suggest)
    assert mine == theirs


@pytest.mark.parametrize(
    "options",
    [
        {"multivariate": False},
        {"constant_liar": False},
        {"group": True, "multivariate": True},
        {"n_startup_trials": 0},
        {"n_ei_candidates": 1},
        {"gamma": lambda n: n // 2},
        {"gamma": lambda n: 0 * n},
        {"weights": lambda n: np.linspace(0, 1, n) + (n == 1)},
        {"consider_magic_clip": False},
        {"consider_endpoints": True},
    ],
    ids="-".join,
)
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning", "ignore:divide by zero")
def test_options_mean_what_they_mean_to_optuna(options: dict[str, Any]) -> None:
    """All of TPESampler's arguments are taken, and suggestions stay the same."""
    ours, optunas = _samplers(**options)
    mine, theirs = _ask_in_turn(twins([], "minimize", {"sampler": ours}, {"sampler": optunas}), 40)
    assert mine == theirs


def test_two_objectives_are_sampled_as_by_optuna() -> None:
    """A study of two objectives works, by Optuna's code."""
    directions = ["minimize", "maximize"]
    ours, optunas = (optuna.create_study(directions=directions, sampler=s) for s in _samplers())
    rng = np.random.default_rng(0)
    for values in rng.uniform(size=(30, 2)):
        trials = [study.ask(SPACE) for study in (ours, optunas)]
        assert trials[0].params == trials[1].params
        ours.tell(trials[0], values.tolist())
        optunas.tell(trials[1], values.tolist())


def test_hyperbands_brackets_are_sampled_as_by_optuna() -> None:
    """Hyperband hands the sampler another study object, of the trial's bracket."""
    ours, optunas = (
        {"sampler": sampler, "pruner": HyperbandPruner(min_resource=1, max_resource=9)}
        for sampler in _samplers()
    )
    mine, theirs = _ask_in_turn(twins([], "minimize", ours, optunas), 60)
    assert mine == theirs


def test_recreated_study_is_read_anew(sqlite_url: str) -> None:
    """SQLite gives a deleted study's ids to the next one; its trials are not the old ones."""
    storage = create_storage(sqlite_url)
    sampler, _ = _samplers(n_startup_trials=2)
    for seed in (0, 1):
        study = optuna.create_study(storage=storage, study_name="s", sampler=sampler)
        assert study._study_id == 1
        rng = np.random.default_rng(seed)
        study.add_trials([random_trial(rng, TrialState.COMPLETE) for _ in range(4)])
        oracle = optuna.create_study(sampler=TPESampler(n_startup_trials=2))
        oracle.sampler._rng = copy.deepcopy(sampler._rng)  # type: ignore[attr-defined]
        oracle.add_trials(study.trials)
        assert _suggest(study.ask()) == _suggest(oracle.ask())
        optuna.delete_study(study_name="s", storage=storage)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))],
    ids=["copied", "pickled"],
)
def test_copied_sampler_goes_on_as_the_original(duplicate: Callable[[Any], Any]) -> None:
    """A sampler in use can be copied and pickled, as Optuna's can."""
    sampler, _ = _samplers()
    study = optuna.create_study(sampler=sampler)
    rng = np.random.default_rng(0)
    study.add_trials([random_trial(rng, TrialState.COMPLETE) for _ in range(20)])
    study.ask(SPACE)
    again = optuna.create_study(sampler=duplicate(sampler))
    again.add_trials(study.trials)
    assert again.ask(SPACE).params == study.ask(SPACE).params


@pytest.mark.parametrize("n", [30, 1500])
def test_best_candidate_is_the_one_of_exact_densities(n: int) -> None:
    """Approximate densities choose as exact ones do, or decline; they seldom decline."""
    rng = np.random.default_rng(n)
    n_declined = 0
    for _ in range(20):
        centre, width = rng.uniform(-3, 0), rng.choice([0.001, 0.1, 1])
        values = 10 ** np.clip(rng.normal(centre, width, (2, n)), -3, 0)
        values *= [[1], [0.01]]
        good, bad = (_estimator(values[:, chosen]) for chosen in (slice(25), slice(25, None)))
        points = good.sample(np.random.RandomState(int(rng.integers(2**31))), 24)
        best = candidates.find_best_candidate(points, good, bad)
        exact = (good.log_pdf(points) - bad.log_pdf(points)).argmax()
        n_declined += best is None
        assert best in (None, exact)
    assert n_declined <= 2


@pytest.mark.parametrize("number", [0, 1, 3])
def test_trial_that_asks_does_not_count(number: int) -> None:
    """A trial that is sampled for again is no observation, even where it has finished."""
    ours, optunas = _samplers(n_startup_trials=1)
    rng = np.random.default_rng(1)
    trials = [random_trial(rng, TrialState.COMPLETE) for _ in range(4)]
    suggestions = [
        study.sampler.sample_independent(study, study.trials[number], "lr", SPACE["lr"])
        for study in twins(trials, "minimize", {"sampler": ours}, {"sampler": optunas})
    ]
    assert suggestions[0] == suggestions[1]


def test_values_that_are_no_numbers_are_left_to_optuna() -> None:
    """A name that was a choice of words in some trial is not observed as a number."""
    words = optuna.distributions.CategoricalDistribution(["a", "b"])
    trial = optuna.trial.create_trial(value=1.0, params={"x": "a"}, distributions={"x": words})
    question = Question(["x"], number=1, gamma=lambda _: 1, has_liar=True)
    study = optuna.create_study()
    split = ObservedTrials().split(study, [trial], question, lambda trial, _: trial.params)
    assert split is None


def test_candidate_over_the_edge_is_left_to_exact_densities() -> None:
    """Rounding can move a candidate over a bound, where Optuna compares infinities."""
    good, bad = (_estimator(np.full((2, 30), value)) for value in (0.009, 0.002))
    points = {name: np.array([0.005, 1e-6, 0.006]) for name in SPACE}
    assert candidates.find_best_candidate(points, good, bad) is None


def test_candidates_that_tie_are_left_to_exact_densities() -> None:
    """Of two equal candidates Optuna takes the first by its own rounding: no answer is given."""
    good, bad = (_estimator(np.full((2, 30), value)) for value in (0.009, 0.002))
    points = {name: np.array([0.005, 0.005]) for name in SPACE}
    assert candidates.find_best_candidate(points, good, bad) is None


def _infeasible(trial: FrozenTrial) -> FrozenTrial:
    """Return a failed trial as Optuna would have the worst there is."""
    if trial.state is not TrialState.FAIL:
        return trial
    worst = copy.deepcopy(trial)
    worst.state = TrialState.PRUNED
    worst.set_constraint("did not fail", math.inf)
    return worst


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("is_fast", [True, False], ids=["fast", "left to Optuna"])
def test_failed_trials_count_as_the_worst(seed: int, is_fast: bool) -> None:  # noqa: FBT001
    """Suggestions are Optuna's on the same trials with failures that violate a constraint."""
    rng = np.random.default_rng(seed)
    trials = [random_trial(rng, state) for state in random_states(rng, int(rng.integers(301)))]
    enough = [random_trial(rng, TrialState.COMPLETE) for _ in range(10)]
    direction = ["minimize", "maximize"][seed % 2]
    ours, optunas = IncrementalTPESampler(seed=7), TPESampler(seed=7)
    study, oracle = twins(enough, direction, {"sampler": ours}, {"sampler": optunas})
    study.add_trials(trials)
    oracle.add_trials(list(map(_infeasible, trials)))
    if not is_fast:
        for each in (study, oracle):
            each.add_trial(_infeasible(random_trial(np.random.default_rng(9), TrialState.FAIL)))
    for _ in range(3):
        assert _suggest(study.ask()) == _suggest(oracle.ask())


def test_trial_that_was_given_back_teaches_nothing() -> None:
    """It is FAIL for Optuna, but nothing is wrong with its parameters."""
    rng = np.random.default_rng(0)
    trials = [random_trial(rng, TrialState.COMPLETE) for _ in range(20)]
    given_back = random_trial(rng, TrialState.FAIL)
    given_back.set_user_attr(GIVEN_BACK, "SIGTERM")
    ours, optunas = IncrementalTPESampler(seed=7), TPESampler(seed=7)
    history = [*trials, given_back]
    study, oracle = twins(history, "minimize", {"sampler": ours}, {"sampler": optunas})
    assert _suggest(study.ask()) == _suggest(oracle.ask())


def _fail_beyond_the_edge(trial: optuna.Trial) -> float:
    """Get better towards the edge beyond which the memory ends: case 15."""
    width = trial.suggest_float("width", 0, 1)
    if width > 0.6:
        trial.report(math.nan, 0)
        raise MemoryError("out of memory")
    return width - trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)


def _fail_for_a_choice(trial: optuna.Trial) -> float:
    width = trial.suggest_int("width", 1, 100)
    if trial.suggest_categorical("kind", ["a", "b"]) == "b" and width > 30:
        trial.report(math.inf, 0)
        raise MemoryError("out of memory")
    return width / 100


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objective", [_fail_beyond_the_edge, _fail_for_a_choice])
def test_region_that_fails_is_left_to_a_half(
    seed: int, objective: Callable[[optuna.Trial], float]
) -> None:
    """Of the last 40 of 80 trials at most half fail; without the lesson all of them can."""
    sampler = IncrementalTPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=80, catch=MemoryError)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    assert states[-40:].count(TrialState.FAIL) <= 20
