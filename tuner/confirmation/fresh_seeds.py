"""What a fresh seed is: the number of an initialisation and of passes that no search uses.

Trials of a confirmation with the same seed are paired: equal weights at the start, equal batches.
"""

# The user attribute that holds a trial's fresh seed: 0, 1, ...
SEED = "seed"

# The most trials of a study, and so the first number that is never one of a search's trials. Its
# passes are far below it: each worker counts its own from 0.
MAX_N_TRIALS = 1_000_000


def init_number(seed: int) -> int:
    """Return the number of the initialisation that all trials with this seed begin with."""
    return MAX_N_TRIALS + seed


def first_pass(seed: int, epochs: int) -> int:
    """Return the first of the passes in which all trials with this seed are trained."""
    return MAX_N_TRIALS + seed * epochs
