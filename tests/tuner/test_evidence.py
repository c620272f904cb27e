"""What is concluded from fresh seeds: rules, racing, intervals and the verdict, on known truths."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tuner.confirmation.evidence import Evidence, judge
from tuner.confirmation.racing import MIN_N_SEEDS, find_hopeless
from tuner.confirmation.statistics import Scale, Values, find_t_quantile
from tuner.confirmation.values import Candidate, Confirmation
from tuner.errors import NoResultError

SCALE = Scale("maximize")
RANGE = (1e-5, 1e-2)
LADDER = [float(x) for x in np.geomspace(*RANGE, 9)]
N_REPETITIONS = 200

Floats = NDArray[np.float64]
Means = Callable[[float], float]


def _rung(weight_decay: float) -> Candidate:
    source = "ladder" if weight_decay > 0 else "zero"
    return Candidate(weight_decay=weight_decay, lr=0.3, source=source)


def _judge(values: Mapping[Candidate, Values], **changes: Any) -> Confirmation:
    seeds = sorted({seed for by_seed in values.values() for seed in by_seed})
    facts = {
        "study": "s/confirm",
        "scale": SCALE,
        "seeds": tuple(seeds),
        "values": values,
        "dropped": frozenset(),
        "searched_range": RANGE,
        "search_trial": 7,
        "search_value": 0.99,
    }
    return judge(Evidence(**{**facts, **changes}))


def _table(rows: Mapping[float, list[float]]) -> dict[Candidate, dict[int, float]]:
    return {_rung(weight_decay): dict(enumerate(row)) for weight_decay, row in rows.items()}


# By hand: means 90, 92, 93, 92.5, 90. Differences to 1e-4: of 0 three times 3; of 1e-5 2, 1, 0, so
# that s = 1 and the standard error 1/√3; of 1e-3 2, 0.5, -1 and 1.5/√3; of 1e-2 6, 3, 0 and 3/√3.
# The median error is 1.25/√3 = 0.722: the limit is 92.28, which 1e-3 reaches.
BY_HAND = {
    0: [89.0, 90.0, 91.0],
    1e-5: [90.0, 92.0, 94.0],
    1e-4: [92.0, 93.0, 94.0],
    1e-3: [90.0, 92.5, 95.0],
    1e-2: [86.0, 90.0, 94.0],
}


def test_rules_give_what_the_table_by_hand_says() -> None:
    """Means, standard errors, λ_min and λ_1se are those worked out with pencil and paper."""
    found = _judge(_table(BY_HAND))
    assert [rung.mean for rung in found.rungs] == pytest.approx([90, 92, 93, 92.5, 90])
    errors = [s / math.sqrt(3) for s in (1, 2, 1, 2.5, 4)]
    assert [rung.standard_error for rung in found.rungs] == pytest.approx(errors)
    assert found.chosen("min").candidate.weight_decay == 1e-4
    assert found.chosen("1se").candidate.weight_decay == 1e-3
    assert found.margin == pytest.approx(1.25 / math.sqrt(3))


def test_less_than_one_validation_image_is_within_the_standard_error() -> None:
    """Seeds that agree to the last digit say nothing of other images; half an image is nothing."""
    table = _table({0: [0.97, 0.97], 1e-4: [0.99, 0.99], 1e-3: [0.985, 0.985]})
    assert _judge(table).chosen("1se").candidate.weight_decay == 1e-4
    found = _judge(table, scale=Scale("maximize", image=1 / 100))
    assert found.chosen("1se").candidate.weight_decay == 1e-3
    assert found.margin == pytest.approx(1 / 100)
    # By hand: (0.01 + √(0.01² + 4 · 0.02²)) / 2, which is √(0.02² + 0.01 times itself).
    assert Scale("maximize", 0.01).find_margin(0.02) == pytest.approx(0.0256155, abs=1e-7)
    assert Scale("maximize", 0.01).add_sampling_error(0.02, 0.0256155) == pytest.approx(
        0.0256155, abs=1e-7
    )


# By hand: means 90, 92, 90. Of 1e-4 alone the standard error would be 10.5/√3 = 6.1. Differences
# to it are 2, 1, 3 and 1, 0, 5, their errors 1/√3 and √7/√3, the median 1.05: 1e-3 loses more.
SEEDS_DIFFER = {0: [80.0, 90.0, 100.0], 1e-4: [82.0, 91.0, 103.0], 1e-3: [81.0, 91.0, 98.0]}


def test_one_standard_error_leaves_out_what_a_seed_does_to_all() -> None:
    """Seeds that are good or bad for every λ leave no doubt about their differences."""
    found = _judge(_table(SEEDS_DIFFER))
    assert found.rungs[1].standard_error == pytest.approx(math.sqrt(111 / 3), rel=0.01)
    assert found.lambda_min == found.lambda_1se == 1
    nearer = {**SEEDS_DIFFER, 1e-3: [83.0, 91.0, 100.0]}
    assert _judge(_table(nearer)).lambda_1se == 2


def test_rules_for_a_loss_mirror_those_for_an_accuracy() -> None:
    """Minimising the negative values chooses the same, and optimism keeps its meaning."""
    search = Candidate(weight_decay=2e-5, lr=0.1, source="search")
    table = {**_table(BY_HAND), search: {0: 91.0, 1: 91.5, 2: 92.0}}
    mirrored = {c: {s: -v for s, v in values.items()} for c, values in table.items()}
    up = _judge(table, search_value=94.0)
    down = _judge(mirrored, search_value=-94.0, scale=Scale("minimize"))
    assert (down.lambda_min, down.lambda_1se) == (up.lambda_min, up.lambda_1se)
    assert down.verdict == up.verdict
    assert up.optimism == down.optimism == pytest.approx(2.5)


def test_rules_break_ties_to_the_larger_weight_decay() -> None:
    """Equal means, up to rounding, are one optimum; the larger λ is the simpler model."""
    found = _judge(_table({0: [0.7, 0.5], 1e-4: [0.1 + 0.2, 0.9], 1e-3: [0.4, 0.6]}))
    assert found.chosen("min").candidate.weight_decay == 1e-4
    assert 0.1 + 0.2 != 0.3
    tied = _judge(_table({0: [0.3, 0.9], 1e-4: [0.1 + 0.2, 0.9], 1e-3: [0.9, 0.3]}))
    assert tied.chosen("min").candidate.weight_decay == 1e-3


def test_one_seed_alone_chooses_but_knows_no_error() -> None:
    """Nothing is within an error that is not known, and whether λ matters cannot be told."""
    found = _judge(_table({0: [0.5], 1e-4: [0.7], 1e-3: [0.6]}))
    assert found.lambda_min == found.lambda_1se == 1
    assert found.rungs[1].standard_error is None
    assert "Too few" in found.verdict.text


def test_candidate_that_diverged_or_was_dropped_is_not_chosen() -> None:
    """A mean over the seeds that went well, or over few, is not compared with the others'."""
    table: dict[Candidate, dict[int, float | None]] = {
        _rung(0): {0: 0.5, 1: 0.5, 2: 0.6},
        _rung(1e-4): {0: 0.6, 1: 0.4, 2: 0.5},
        _rung(1e-3): {0: 0.9, 1: 0.9, 2: None},
        _rung(1e-2): {0: 0.8, 1: 0.9, 2: 0.9},
    }
    found = _judge(table, dropped=frozenset({_rung(1e-2)}))
    assert [rung.is_dropped for rung in found.rungs] == [False, False, True, True]
    assert found.lambda_min == 0
    assert found.rungs[2].values == {0: 0.9, 1: 0.9}


def test_evidence_without_a_complete_candidate_is_no_result() -> None:
    """If all diverged there is nothing to choose from."""
    with pytest.raises(NoResultError, match="finite value"):
        _judge({_rung(0): {0: None}, _rung(1e-3): {0: math.inf}})


def test_rules_on_a_ridge_path_are_those_of_the_closed_form() -> None:
    """λ_min and λ_1se of a 10-fold ridge path agree with hat matrices worked out in closed form."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 12))
    y = x @ rng.normal(scale=0.5, size=12) + rng.normal(scale=1.5, size=60)
    lambdas = [float(v) for v in np.geomspace(1e-2, 1e3, 40)]
    folds = np.array_split(rng.permutation(60), 10)
    errors = _ridge_errors_by_svd(x, y, lambdas, folds)  # (λ, fold)
    means = errors.mean(axis=1)
    best = int(means.argmin())
    differences = np.delete(errors - errors[best], best, axis=0)
    usual = np.median(differences.std(axis=1, ddof=1)) / math.sqrt(10)
    within = np.flatnonzero(means <= means[best] + usual)
    table = {
        _rung(value): {
            fold: _ridge_error_by_solving(x, y, value, held_out)
            for fold, held_out in enumerate(folds)
        }
        for value in lambdas
    }
    found = _judge(table, scale=Scale("minimize"), searched_range=(1e-2, 1e3))
    assert 0 < best < within.max() < len(lambdas) - 1
    assert found.lambda_min == best
    assert found.lambda_1se == within.max()


def _ridge_errors_by_svd(
    x: Floats, y: Floats, lambdas: list[float], folds: list[NDArray[np.int64]]
) -> Floats:
    errors = np.empty((len(lambdas), len(folds)))
    for column, held_out in enumerate(folds):
        rest = np.setdiff1d(np.arange(len(y)), held_out)
        u, d, vt = np.linalg.svd(x[rest], full_matrices=False)
        for row, value in enumerate(lambdas):
            weights = vt.T @ (d / (d**2 + value) * (u.T @ y[rest]))
            errors[row, column] = ((y[held_out] - x[held_out] @ weights) ** 2).mean()
    return errors


def _ridge_error_by_solving(
    x: Floats, y: Floats, value: float, held_out: NDArray[np.int64]
) -> float:
    from sklearn.linear_model import Ridge

    rest = np.setdiff1d(np.arange(len(y)), held_out)
    model = Ridge(alpha=value, fit_intercept=False, solver="cholesky").fit(x[rest], y[rest])
    return float(((y[held_out] - model.predict(x[held_out])) ** 2).mean())


def _bump(weight_decay: float) -> float:
    """Return an accuracy with its optimum at 1e-3, and a steep fall beyond."""
    position = math.log10(max(weight_decay, 1e-6))
    return 0.90 + 0.01 * math.exp(-((position + 3) ** 2)) - 0.02 * max(0.0, position + 2.5) ** 2


def _draw(
    rng: np.random.Generator, means: Means, noise: float, n_seeds: int = 5
) -> dict[Candidate, dict[int, float]]:
    """Return values of the ladder and zero, with a part of the noise common to a seed."""
    common = rng.normal(scale=noise / 2, size=n_seeds)
    return {
        _rung(weight_decay): {
            seed: means(weight_decay) + float(common[seed] + rng.normal(scale=noise))
            for seed in range(n_seeds)
        }
        for weight_decay in [0.0, *LADDER]
    }


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 200 repetitions 95 % t-intervals of one λ cover its mean in 95 ± 4.6 %.

    The tolerance is three binomial standard errors of 200 draws. The interval of whatever λ is
    chosen covers less often, since it was chosen for being high: 85 % at least here.
    """
    rng = np.random.default_rng(0)
    quantile = find_t_quantile(0.975, 4)
    fixed = chosen = 0
    for _ in range(N_REPETITIONS):
        found = _judge(_draw(rng, _bump, noise=0.003))
        is_covered = []
        for rung in found.rungs:
            assert rung.mean is not None
            assert rung.standard_error is not None
            truth = _bump(rung.candidate.weight_decay)
            is_covered.append(abs(rung.mean - truth) <= quantile * rung.standard_error)
        fixed += is_covered[4]
        chosen += is_covered[found.lambda_min]
    assert abs(fixed / N_REPETITIONS - 0.95) <= 3 * math.sqrt(0.95 * 0.05 / N_REPETITIONS)
    assert chosen / N_REPETITIONS >= 0.85


def _race(values: Mapping[Candidate, Values], n_seeds: int) -> tuple[set[Candidate], int]:
    """Train seed by seed and drop as `tuner confirm` does; return survivors and values used."""
    alive, n_used = set(values), 0
    for n in range(1, n_seeds + 1):
        n_used += len(alive)
        seen = {c: {seed: values[c][seed] for seed in range(n)} for c in alive}
        alive -= find_hopeless(seen, SCALE)
    return alive, n_used


def test_racing_keeps_the_leader_and_drops_nobody_before_three_seeds() -> None:
    """In 200 races the best so far is never dropped, nobody with two seeds, the hopeless mostly."""
    rng = np.random.default_rng(1)
    n_used = n_without_optimum = 0
    for _ in range(N_REPETITIONS):
        values = _draw(rng, _bump, noise=0.002)
        for n in range(1, 6):
            seen = {c: {seed: v[seed] for seed in range(n)} for c, v in values.items()}
            leader = max(seen, key=lambda c: sum(seen[c].values()))
            hopeless = find_hopeless(seen, SCALE)
            assert leader not in hopeless
            assert n >= MIN_N_SEEDS or not hopeless
            assert all(candidate.source == "ladder" for candidate in hopeless)
        alive, n = _race(values, 5)
        n_used += n
        n_without_optimum += _rung(LADDER[6]) not in alive  # 1e-2 ** 0.75: the optimum's rung
    assert n_used < 0.95 * N_REPETITIONS * 50
    assert n_without_optimum <= 0.02 * N_REPETITIONS


def test_racing_drops_a_diverged_candidate_at_once() -> None:
    """A seed that diverged says enough, after one seed and of λ = 0 too."""
    values: dict[Candidate, dict[int, float | None]] = {
        _rung(0): {0: None},
        _rung(1e-4): {0: 0.5},
        _rung(1e-3): {},
    }
    assert find_hopeless(values, SCALE) == {_rung(0)}


def test_racing_is_not_misled_by_differences_that_are_alike_by_chance() -> None:
    """Three equal differences of one image each have no spread, and prove nothing."""
    rng = np.random.default_rng(2)
    values = {
        _rung(x): {seed: 0.97 + float(rng.integers(-3, 4)) / 300 for seed in range(3)}
        for x in LADDER[:6]
    }
    values[_rung(LADDER[7])] = dict.fromkeys(range(3), 0.98)
    values[_rung(LADDER[8])] = dict.fromkeys(range(3), 0.98 - 1 / 300)
    assert _rung(LADDER[8]) not in find_hopeless(values, SCALE)


# In points of validation accuracy on the ladder, λ = 0 first; paired standard deviations by seed.
# 1,000 training images, 60 epochs: the optimum lies inside, 0.25 ± 0.07 above λ = 0.
FEW_IMAGES = [0, 0.01, 0.01, 0.02, 0.02, 0.05, 0.11, 0.25, 0.2, -0.2]
# All images, 5 epochs: no λ beats λ = 0, and 1e-3 costs 1.6 points.
ALL_IMAGES = [0, 0, -0.02, -0.08, -0.2, -0.5, -1.2, -2.2, -4, -6.5]
PAIRED_SD = 0.07 * math.sqrt(5)


def _draw_points(
    rng: np.random.Generator, points: list[float], paired_sd: float
) -> dict[Candidate, dict[int, float]]:
    """Return raced values of five seeds, each seed with noise of its own beside the paired one."""
    common = rng.normal(scale=0.2, size=5)
    noise = rng.normal(scale=paired_sd / math.sqrt(2), size=(10, 5))
    accuracies = 0.9 + (np.array(points)[:, None] + common + noise) / 100
    values = {
        _rung(weight_decay): dict(enumerate(map(float, row)))
        for weight_decay, row in zip([0.0, *LADDER], accuracies, strict=True)
    }
    alive, _ = _race(values, 5)
    return {c: v if c in alive else {s: v[s] for s in range(3)} for c, v in values.items()}


@pytest.mark.parametrize(
    ("points", "word"),
    [(FEW_IMAGES, "matters"), (ALL_IMAGES, "does not matter")],
    ids=["few images", "all images"],
)
def test_verdict_tells_the_two_regimes_apart(points: list[float], word: str) -> None:
    """Of 200 repetitions with the noise that was measured at least 180 get the right word."""
    rng = np.random.default_rng(4)
    words = [
        _judge(_draw_points(rng, points, PAIRED_SD)).verdict.kind for _ in range(N_REPETITIONS)
    ]
    assert words.count(word) >= 0.9 * N_REPETITIONS


def test_verdict_where_nothing_differs_is_mostly_that_lambda_does_not_matter() -> None:
    """Ten rungs of the same mean are taken for different in a fifth of repetitions at most."""
    rng = np.random.default_rng(5)
    verdicts = [_judge(_draw_points(rng, [0.0] * 10, PAIRED_SD)).verdict for _ in range(200)]
    assert sum(verdict.kind != "does not matter" for verdict in verdicts) <= 40


def _judge_points(points: list[float]) -> Confirmation:
    return _judge(_draw_points(np.random.default_rng(6), points, paired_sd=0.02))


def test_verdict_with_the_optimum_at_an_end_says_which_range_to_search() -> None:
    """The upper end is moved up tenfold, the lower one down, the other end stays."""
    upper = _judge_points([0, 0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]).verdict
    assert (upper.kind, upper.suggested_range) == ("edge", pytest.approx((1e-5, 1e-1)))
    assert "search [1e-05, 0.1]" in upper.text
    lower = _judge_points([0, 3, 2.5, 2, 1.5, 1, 0.5, 0, -0.5, -1]).verdict
    assert (lower.kind, lower.suggested_range) == ("edge", pytest.approx((1e-6, 1e-2)))


def test_verdict_where_every_lambda_is_too_large_looks_below_the_range() -> None:
    """λ = 0 beats all that was searched, so that the optimum may lie between."""
    verdict = _judge_points([0, -1, -1.5, -2, -3, -4, -5, -6, -7, -8]).verdict
    assert (verdict.kind, verdict.suggested_range) == ("edge", pytest.approx((1e-7, 1e-5)))
    assert "λ = 0 beats the best of them" in verdict.text


def test_verdict_where_even_the_largest_costs_nothing_suggests_larger_ones() -> None:
    """A range in which nothing matters may end before it does."""
    verdict = _judge(_table({x: [0.5, 0.6, 0.7] for x in [0, *LADDER]})).verdict
    assert (verdict.kind, verdict.suggested_range) == ("does not matter", (1e-5, 1e-1))
    assert "none costs anything" in verdict.text


def test_verdict_that_lambda_does_not_matter_says_what_a_large_one_costs() -> None:
    """Not needing λ is not the same as every λ being harmless."""
    found = _judge_points(ALL_IMAGES)
    assert found.verdict.kind == "does not matter"
    assert "none beats λ = 0 by more than chance" in found.verdict.text
    assert "λ = 0.01 costs 0.06" in found.verdict.text


def test_verdict_without_zero_compares_with_the_lowest_rung() -> None:
    """Where λ = 0 has diverged or was not asked for, the smallest λ is the control."""
    values = _draw_points(np.random.default_rng(6), FEW_IMAGES, 0.02)
    del values[_rung(0)]
    verdict = _judge(values).verdict
    assert verdict.kind == "matters"
    assert "beats λ = 1e-05 by 0.00" in verdict.text
