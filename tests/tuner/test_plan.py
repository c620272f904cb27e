"""The plan of a confirmation follows from the values there are, and from nothing else."""

import pytest

from tuner.confirmation.ladder import Candidates
from tuner.confirmation.plan import find_n_wanted, list_wanted, make_trial
from tuner.confirmation.statistics import Scale, Values
from tuner.confirmation.values import Candidate

SCALE = Scale("maximize")
GOOD, FAIR, BAD = (
    Candidate(weight_decay=weight_decay, lr=0.1, source="ladder")
    for weight_decay in (1e-4, 1e-3, 1e-2)
)
CANDIDATES = Candidates(((GOOD,), (FAIR,)), search=BAD)
# By seed, with some noise that all share.
NOISE = (0.0, 0.004, -0.003, 0.002, -0.001)
LEVELS = {GOOD: 0.97, FAIR: 0.969, BAD: 0.90}
OWN = {GOOD: (1, -1, 0, 1, -1), FAIR: (0, 1, -1, 0, 1), BAD: (-1, 0, 1, -1, 0)}


def _values(n: int) -> dict[Candidate, Values]:
    """Return the candidates' values by seed, as far as they were trained."""
    return {
        c: {seed: LEVELS[c] + NOISE[seed] + 1e-3 * OWN[c][seed] for seed in range(n)}
        for c in LEVELS
    }


@pytest.mark.parametrize("n", [0, 1, 2])
def test_nobody_is_dropped_before_three_seeds(n: int) -> None:
    """All candidates shall have all seeds as long as fewer than three have ended."""
    assert set(find_n_wanted(CANDIDATES, _values(n), 5, SCALE, races=True).values()) == {5}


@pytest.mark.parametrize("n", [3, 4, 5])
def test_hopeless_candidate_gets_three_seeds_however_late_one_looks(n: int) -> None:
    """Later values change nothing of what the first three said: every host has the same plan."""
    wanted = find_n_wanted(CANDIDATES, _values(n), 5, SCALE, races=True)
    assert wanted == {GOOD: 5, FAIR: 5, BAD: 3}


def test_without_racing_all_get_all_seeds() -> None:
    """`--no-racing` trains the hopeless to the end."""
    assert set(find_n_wanted(CANDIDATES, _values(5), 5, SCALE, races=False).values()) == {5}


def test_racing_waits_for_the_last_candidate() -> None:
    """A value that is still missing could be the leader's."""
    values = _values(3)
    values[GOOD] = {0: 0.97, 1: 0.974}
    assert set(find_n_wanted(CANDIDATES, values, 5, SCALE, races=True).values()) == {5}


@pytest.mark.parametrize("races", [True, False])
def test_candidate_that_diverged_gets_no_further_seed(races: bool) -> None:  # noqa: FBT001
    """It is out of the choice whatever the other seeds say; the race goes on without it."""
    values = {**_values(3), GOOD: {0: None}}
    wanted = find_n_wanted(CANDIDATES, values, 5, SCALE, races=races)
    assert wanted[GOOD] == 1
    assert wanted[FAIR] == 5


def test_outrun_learning_rate_gets_the_two_seeds_that_decided_with_and_without_racing() -> None:
    """It does not wait for the race, and the race goes on without it."""
    slow = GOOD.model_copy(update={"lr": 0.01})
    candidates = Candidates(((GOOD, slow), (FAIR,)), search=BAD)
    values: dict[Candidate, Values] = {**_values(3), slow: {0: 0.9, 1: 0.9}}
    for races, of_bad in ((True, 3), (False, 5)):
        wanted = find_n_wanted(candidates, values, 5, SCALE, races=races)
        assert wanted == {GOOD: 5, FAIR: 5, BAD: of_bad, slow: 2}


def test_later_seeds_of_rival_learning_rates_come_last_until_one_is_chosen() -> None:
    """Workers that are ahead train what is wanted whatever is decided."""
    slow = GOOD.model_copy(update={"lr": 0.01})
    candidates = Candidates(((GOOD, slow), (FAIR,)), search=BAD)
    undecided = dict.fromkeys((GOOD, slow, FAIR, BAD), 3)
    order = list_wanted(candidates, undecided)
    assert order[:-4] == [(c, seed) for seed in (0, 1) for c in (GOOD, slow, FAIR, BAD)]
    assert order[-4:] == [(FAIR, 2), (BAD, 2), (GOOD, 2), (slow, 2)]
    assert list_wanted(candidates, {**undecided, slow: 2})[-3:] == [(GOOD, 2), (FAIR, 2), (BAD, 2)]


def test_trial_is_the_same_for_the_same_configuration_and_seed() -> None:
    """Why it is a candidate does not matter; a function's other parameters do."""
    again = GOOD.model_copy(update={"source": "search"})
    assert make_trial(GOOD, 1, {}).key == make_trial(again, 1, {}).key
    assert make_trial(GOOD, 1, {}).key != make_trial(GOOD, 2, {}).key
    assert make_trial(GOOD, 1, {"momentum": 0.9}).key != make_trial(GOOD, 1, {}).key
    trial = make_trial(GOOD, 1, {"momentum": 0.9, "weight_decay": 1.0, "lr": 1.0})
    assert trial.params == {"momentum": 0.9, "weight_decay": 1e-4, "lr": 0.1}
    assert trial.user_attrs == {"seed": 1, "source": "ladder"}
