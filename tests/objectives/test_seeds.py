"""Seeds and orders are promises: a study stored today must train alike years from now."""

import itertools

import numpy as np
import pytest

from objectives.seeds import derive_seed, permutation


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, "init", 0), 7615695542073086227),
        ((0, "init", 1), 6826818891440556349),
        ((0, "order", 0), 3955691223199900983),
        ((1, "split"), 4878023233260021594),
    ],
)
def test_derive_seed_in_any_version_gives_the_known_value(
    arguments: tuple[int, str, int], expected: int
) -> None:
    """A study's seeds never change, or its trials could not be trained again."""
    assert derive_seed(*arguments) == expected


def test_derive_seed_for_distinct_arguments_gives_distinct_seeds() -> None:
    """No two purposes, numbers or study seeds share a seed, and all fit a signed 64-bit integer."""
    arguments = list(itertools.product(range(3), ["init", "order", "split"], range(100)))
    seeds = {derive_seed(*each) for each in arguments}
    assert len(seeds) == len(arguments)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, [6, 1, 0, 5, 3, 8, 7, 9, 2, 4]),
        (derive_seed(0, "order", 3), [0, 7, 5, 6, 3, 2, 4, 1, 8, 9]),
    ],
    ids=["small seed", "derived seed"],
)
def test_permutation_in_any_version_gives_the_known_order(seed: int, expected: list[int]) -> None:
    """The order of a pass never changes, whatever NumPy or torch is installed."""
    assert permutation(10, seed).tolist() == expected


def test_permutation_of_a_training_set_begins_with_the_known_indices() -> None:
    """The promise also holds where 60,000 indices need more than 16 random bits."""
    order = permutation(60_000, derive_seed(0, "split"))
    assert order[:5].tolist() == [4460, 42177, 45849, 56602, 14042]


@pytest.mark.parametrize("n", [0, 1, 1797])
def test_permutation_of_n_holds_each_index_once(n: int) -> None:
    """Every image is seen exactly once a pass."""
    order = permutation(n, seed=5)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))
