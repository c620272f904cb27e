"""Derive independent seeds from one study seed, the same on every host, device and version."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def derive_seed(seed: int, purpose: str, number: int = 0) -> int:
    """Return a seed in [0, 2**63) for one purpose, e.g. ``derive_seed(0, "init", trial_number)``.

    Distinct arguments give unrelated seeds: SHA-256 of their text, so neighbouring trial numbers
    are no more alike than any two.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def permutation(n: int, seed: int) -> NDArray[np.int64]:
    """Return a permutation of 0..n-1, shape ``(n,)`` int64, that depends on ``seed`` alone.

    NumPy promises the stream of ``RandomState`` for ever (NEP 19); torch promises none.
    """
    generator = np.random.RandomState(np.random.MT19937(seed))
    return generator.permutation(n).astype(np.int64, copy=False)
