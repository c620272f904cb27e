"""The candidates for fresh seeds: a ladder of λ, each with a learning rate read from the search."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.tuner.histories import SPACE
from tuner.confirmation.ladder import Candidates, make_candidates
from tuner.confirmation.values import Candidate
from tuner.errors import NoResultError, UsageError

N_EPOCHS = 20
NOISE = 0.002
# Learning rates from here on diverge on the synthetic surface.
DIVERGING_LR = 0.8


def _best_lr(weight_decay: float) -> float:
    """Return where the ridge of the synthetic surface is: the larger λ, the smaller."""
    return 0.25 * float(10 ** (-0.25 * max(0.0, math.log10(weight_decay) + 3.5)))


def _accuracy(weight_decay: float, lr: float) -> float:
    distance = math.log10(lr / _best_lr(weight_decay))
    return 0.9 - (0.02 if distance < 0 else 0.06) * distance**2


def _trial(rng: np.random.Generator, weight_decay: float, lr: float, worst: float) -> FrozenTrial:
    """Return a trial as it ends on the surface: pruned half-way if it will be below ``worst``."""
    params = {"weight_decay": weight_decay, "lr": lr}
    common = {"params": params, "distributions": SPACE}
    if lr > DIVERGING_LR:
        return create_trial(
            state=TrialState.PRUNED, user_attrs={"diverged": True}, value=None, **common
        )
    accuracy = _accuracy(weight_decay, lr)
    n_epochs = N_EPOCHS if accuracy >= worst else int(rng.integers(2, N_EPOCHS))
    reports = {
        epoch: accuracy - 0.5 * math.exp(-epoch / 2) + float(rng.normal(scale=NOISE))
        for epoch in range(1, n_epochs + 1)
    }
    state = TrialState.COMPLETE if n_epochs == N_EPOCHS else TrialState.PRUNED
    return create_trial(state=state, value=reports[n_epochs], intermediate_values=reports, **common)


def _search(seed: int, n_trials: int = 30) -> list[FrozenTrial]:
    """Return a search as TPE and the median pruner leave it: crowded near one good place."""
    rng = np.random.default_rng(seed)
    points = [(rng.uniform(-5, -2), rng.uniform(-3, 0)) for _ in range(n_trials // 2)]
    centre = max(points, key=lambda p: _accuracy(10 ** p[0], 10 ** p[1]) - (p[1] > -0.1))
    for _ in range(n_trials - len(points)):
        near = rng.normal(centre, (0.6, 0.3))
        points.append((float(np.clip(near[0], -5, -2)), float(np.clip(near[1], -3, 0))))
    accuracies = [_accuracy(10**w, 10**lr) for w, lr in points]
    worst = float(np.quantile(accuracies, 0.6))
    return [_trial(rng, 10**w, 10**lr, worst) for w, lr in points]


def _first_of(candidates: Candidates) -> list[Candidate]:
    """Return the ladder with learning rates of the first kind, the best trial's."""
    return [row[0] for row in candidates.rows if row[0].source == "ladder"]


def _own_of(candidates: Candidates) -> list[Candidate]:
    """Return the ladder with learning rates of the last kind, the surface's at each λ."""
    return [row[-1] for row in candidates.rows if row[0].source == "ladder"]


def test_candidates_are_zero_the_ladder_in_ascending_order_and_the_best_trial() -> None:
    """Nine λ from end to end, evenly on a log scale, λ = 0, and the search's choice."""
    trials = _search(0)
    candidates = make_candidates(trials, direction="maximize")
    ladder = [rung.weight_decay for rung in _first_of(candidates)]
    assert ladder == pytest.approx(np.geomspace(1e-5, 1e-2, 9))
    assert (ladder[0], ladder[-1]) == (1e-5, 1e-2)
    zero, lowest, *_ = candidates.rows
    assert {(c.weight_decay, c.source) for c in zero} == {(0, "zero")}
    assert [c.lr for c in zero] == [c.lr for c in lowest]
    best = max((t for t in trials if t.value and t.state == TrialState.COMPLETE), key=_value)
    search = candidates.search
    assert {"weight_decay": search.weight_decay, "lr": search.lr} == best.params
    assert {c.lr for c in _first_of(candidates)} == {search.lr}
    assert len(candidates.rows) == 10
    without = make_candidates(trials, direction="maximize", with_zero=False)
    assert without.rows == candidates.rows[1:]


def test_learning_rates_that_are_nearly_the_same_are_one() -> None:
    """Nothing is trained twice for a difference that no seed could show."""
    for seed in range(5):
        candidates = make_candidates(_search(seed), direction="maximize")
        for row in candidates.rows:
            lrs = sorted({c.lr for c in row})
            assert all(high / low > 1.25 for low, high in itertools.pairwise(lrs))


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def test_learning_rates_follow_the_ridge_of_a_noisy_surface() -> None:
    """From 30 trials, half of them pruned or diverged, each λ gets about its best learning rate.

    Over 20 searches: a median of 0.15 decades off, a root mean square of 0.25 at most, and none at
    a learning rate that diverges. The best trial's learning rate for all would lose more.
    """
    distances, losses, losses_of_best = [], [], []
    for seed in range(20):
        trials = _search(seed)
        candidates = make_candidates(trials, direction="maximize")
        best = candidates.search
        for rung in _own_of(candidates):
            top = _best_lr(rung.weight_decay)
            assert rung.lr < DIVERGING_LR
            distances.append(math.log10(rung.lr / top))
            losses.append(0.9 - _accuracy(rung.weight_decay, rung.lr))
            losses_of_best.append(0.9 - _accuracy(rung.weight_decay, best.lr))
    assert np.median(np.abs(distances)) < 0.15
    assert np.sqrt(np.mean(np.square(distances))) < 0.25
    assert np.mean(losses) < np.mean(losses_of_best)


def _rescale(trial: FrozenTrial, factor: float, shift: float) -> FrozenTrial:
    return create_trial(
        state=trial.state,
        value=None if trial.value is None else factor * trial.value + shift,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        intermediate_values={
            step: factor * value + shift for step, value in trial.intermediate_values.items()
        },
    )


@pytest.mark.parametrize(("factor", "direction"), [(1e6, "maximize"), (-1e-6, "minimize")])
def test_candidates_do_not_depend_on_the_unit_of_the_values(factor: float, direction: Any) -> None:
    """A loss in any unit leads to the same candidates as the accuracy it mirrors."""
    trials = _search(1)
    expected = make_candidates(trials, direction="maximize")
    rescaled = [_rescale(trial, factor, shift=-factor) for trial in trials]
    found = make_candidates(rescaled, direction=direction)
    assert _lrs(found) == pytest.approx(_lrs(expected))


def _lrs(candidates: Candidates) -> list[float]:
    return [c.lr for c in candidates.distinct]


def test_few_trials_give_every_rung_the_best_trials_learning_rate() -> None:
    """Of four trials no surface is made."""
    rng = np.random.default_rng(0)
    trials = [_trial(rng, 10.0**-w, 0.1 * w, 0.0) for w in (2, 3, 4, 5)]
    candidates = make_candidates(trials, direction="maximize")
    assert {c.lr for c in candidates.distinct} == {candidates.search.lr}


def test_values_that_are_not_finite_count_as_the_worst() -> None:
    """An objective may return or report infinity; the candidates are as if it had diverged."""
    rng = np.random.default_rng(0)
    space = {"params": {"weight_decay": 1e-3, "lr": 0.9}, "distributions": SPACE}
    good = [_trial(rng, 1e-3, 0.03 * n, 0.0) for n in range(1, 12)]
    bad = [
        create_trial(state=TrialState.COMPLETE, value=-math.inf, **space),
        create_trial(state=TrialState.PRUNED, intermediate_values={1: math.nan}, **space),
        create_trial(state=TrialState.FAIL, **space),
    ]
    ladder = _own_of(make_candidates(good + bad, direction="maximize"))
    assert all(0.1 < rung.lr < 0.34 for rung in ladder)


def test_equal_values_give_candidates_all_the_same() -> None:
    """Where nothing differs, any learning rate that was tried will do."""
    trials = [
        create_trial(
            state=TrialState.COMPLETE,
            value=1.0,
            params={"weight_decay": 10.0**-w, "lr": 0.1},
            distributions=SPACE,
        )
        for w in (2, 2.5, 3, 3.5, 4, 4.5)
    ]
    assert {c.lr for c in make_candidates(trials, direction="maximize").distinct} == {0.1}


def test_linear_range_from_zero_begins_at_the_smallest_weight_decay_tried() -> None:
    """Zero is on no log scale; what was tried tells where the ladder begins."""
    space = {"weight_decay": FloatDistribution(0, 0.1), "lr": FloatDistribution(0.01, 1)}
    trials = [
        create_trial(
            state=TrialState.COMPLETE,
            value=-x,
            params={"weight_decay": x, "lr": 0.1},
            distributions=space,
        )
        for x in (0.0, 0.001, 0.05)
    ]
    ladder = _first_of(make_candidates(trials, direction="maximize", n_rungs=3))
    assert [rung.weight_decay for rung in ladder] == pytest.approx([0.001, 0.01, 0.1])


@pytest.mark.parametrize(
    ("distributions", "name"),
    [
        ({"lr": SPACE["lr"]}, "weight_decay"),
        ({"weight_decay": SPACE["weight_decay"]}, "lr"),
        ({**SPACE, "weight_decay": CategoricalDistribution([0.0, 0.001])}, "weight_decay"),
    ],
    ids=["without λ", "without learning rate", "λ of a list"],
)
def test_search_over_other_parameters_is_refused_in_one_line(
    distributions: dict[str, Any], name: str
) -> None:
    """An objective that never suggested λ or lr as a number has none to confirm."""
    params = dict.fromkeys(distributions, 0.001)
    trial = create_trial(
        state=TrialState.COMPLETE, value=1.0, params=params, distributions=distributions
    )
    with pytest.raises(UsageError, match=rf"no float parameter '{name}'.*suggest_float"):
        make_candidates([trial], direction="maximize")


def test_search_without_a_complete_trial_has_no_candidates() -> None:
    """Pruned trials alone have no best."""
    pruned = create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.5})
    with pytest.raises(NoResultError, match="no complete trial"):
        make_candidates([pruned], direction="maximize")
