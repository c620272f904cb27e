"""Which learning rate a λ is judged at, by what the first two fresh seeds say."""

import pytest

from tuner.confirmation.ladder import Candidates
from tuner.confirmation.learning_rates import find_outrun
from tuner.confirmation.statistics import Values
from tuner.confirmation.values import Candidate

LADDER = (1e-5, 1e-4, 1e-3)
LRS = (0.1, 0.3, 0.9)


def _candidate(weight_decay: float, lr: float) -> Candidate:
    return Candidate(weight_decay=weight_decay, lr=lr, source="ladder")


CANDIDATES = Candidates(
    tuple(tuple(_candidate(x, lr) for lr in LRS) for x in LADDER),
    search=Candidate(weight_decay=2e-4, lr=0.1, source="search"),
)
# A row for each λ, a column for each learning rate.
Table = list[list[float | None]]


def _values(table: Table, noise: float = 0.01) -> dict[Candidate, Values]:
    """Return two seeds' values with these means, and the search's, which has no rival."""
    found: dict[Candidate, Values] = {CANDIDATES.search: {0: 0.5, 1: 0.5}}
    for row, means in zip(CANDIDATES.rows, table, strict=True):
        for candidate, mean in zip(row, means, strict=True):
            found[candidate] = {0: None if mean is None else mean - noise}
            found[candidate] |= {1: None if mean is None else mean + noise}
    return found


def _chosen(table: Table, direction: str = "maximize") -> list[float]:
    """Return the learning rates that stay, in ascending λ."""
    outrun = find_outrun(CANDIDATES, _values(table), 5, direction)  # type: ignore[arg-type]
    stay = [[c.lr for c in row if c not in outrun] for row in CANDIDATES.rows]
    return [lr for [lr] in stay]  # one in each row


def test_each_lambda_keeps_the_learning_rate_that_does_best() -> None:
    """Where differences are clear, neighbours do not change them."""
    table: Table = [[0.90, 0.95, 0.97], [0.90, 0.95, 0.96], [0.95, 0.92, 0.80]]
    assert _chosen(table) == [0.9, 0.9, 0.1]


def test_choice_for_a_loss_is_the_mirrored_one() -> None:
    """The smaller values are the better if the study minimises."""
    table: Table = [[0.90, 0.95, 0.97], [0.90, 0.95, 0.96], [0.95, 0.92, 0.80]]
    assert _chosen([[-x for x in row if x is not None] for row in table], "minimize") == [
        0.9,
        0.9,
        0.1,
    ]


def test_neighbours_decide_where_a_lambda_says_little() -> None:
    """One rung at which a learning rate was lucky stays with the rungs around it."""
    table: Table = [[0.90, 0.95, 0.97], [0.90, 0.962, 0.96], [0.90, 0.95, 0.97]]
    assert _chosen(table) == [0.9, 0.9, 0.9]


def test_ruin_at_a_neighbour_does_not_outweigh_what_is_seen() -> None:
    """A large learning rate that diverges with a large λ may be the best with a small one."""
    table: Table = [[0.90, 0.95, 0.97], [0.90, 0.95, 0.97], [0.90, 0.94, None]]
    assert _chosen(table) == [0.9, 0.9, 0.3]


def test_equal_means_stay_with_the_best_trials_learning_rate() -> None:
    """Where the learning rate does not matter, λ alone differs between candidates."""
    assert _chosen([[0.9, 0.9, 0.9]] * 3) == [0.1, 0.1, 0.1]


def test_all_diverged_leaves_one_learning_rate() -> None:
    """Nothing can be compared, and nothing is divided by zero."""
    assert _chosen([[None, None, None]] * 3) == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("missing", [0, 1])
def test_nobody_is_outrun_before_all_have_two_seeds(missing: int) -> None:
    """The missing value may be the one that counts."""
    values = _values([[0.90, 0.95, 0.97]] * 3)
    candidate = CANDIDATES.rows[1][2]
    values[candidate] = {seed: v for seed, v in values[candidate].items() if seed != missing}
    assert not find_outrun(CANDIDATES, values, 5, "maximize")
    assert missing == 0 or find_outrun(CANDIDATES, values, 1, "maximize")


def test_later_values_change_nothing() -> None:
    """Whoever asks late finds the same plan as those who asked when two seeds had ended."""
    values = _values([[0.90, 0.95, 0.97]] * 3)
    expected = find_outrun(CANDIDATES, values, 5, "maximize")
    later = {c: {**by_seed, 2: 1 - c.lr, 3: 1 - c.lr} for c, by_seed in values.items()}
    assert find_outrun(CANDIDATES, later, 5, "maximize") == expected
    assert len(expected) == 6
