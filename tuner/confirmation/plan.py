"""Which trials of a confirmation are worth running: a plan made of the values there are so far.

Pure functions of values, so that whoever asks, whenever, after whatever crash, comes to the same
plan.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from storage import QueuedTrial, find_key, is_given_back
from tuner.confirmation.fresh_seeds import SEED
from tuner.confirmation.ladder import Candidates
from tuner.confirmation.learning_rates import N_SEEDS, find_outrun
from tuner.confirmation.racing import MIN_N_SEEDS, find_hopeless
from tuner.confirmation.statistics import Scale, Values
from tuner.confirmation.values import Candidate

SOURCE = "source"


def make_trial(candidate: Candidate, seed: int, params: Mapping[str, Any]) -> QueuedTrial:
    """Return a candidate's trial with a fresh seed; ``params`` are those of the best trial.

    A function's other parameters keep their best value. The same λ, learning rate and seed are the
    same trial, why ever they are a candidate.
    """
    own = {"weight_decay": candidate.weight_decay, "lr": candidate.lr}
    fixed = {**params, **own}
    key = f"seed {seed} {json.dumps(fixed, sort_keys=True)}"
    return QueuedTrial(key, fixed, {SEED: seed, SOURCE: candidate.source})


def find_ended(trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Return by key the trials that will not be run again."""
    ended = [t for t in trials if t.state.is_finished() and not is_given_back(t)]
    return {key: trial for trial in ended if (key := find_key(trial)) is not None}


def find_value(trial: FrozenTrial) -> float | None:
    """Return an ended trial's value; None if it diverged, failed or gave no finite number."""
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return trial.value if math.isfinite(trial.value) else None
    return None


def find_n_wanted(
    candidates: Candidates,
    values: Mapping[Candidate, Values],
    n_seeds: int,
    scale: Scale,
    *,
    races: bool,
) -> dict[Candidate, int]:
    """Return for how many seeds each candidate is to be trained, by the values of those that ended.

    One without a value for some seed is out of the choice, and gets no further seed; nor does one
    at whose λ another learning rate did better for the first two. With racing, who is found
    hopeless once all have ended for the first three seeds, or four, ..., is out too.
    """
    n_wanted = {candidate: _n_until_missing(values[candidate], n_seeds) for candidate in values}
    for outrun in find_outrun(candidates, values, n_seeds, scale.direction):
        n_wanted[outrun] = min(n_wanted[outrun], N_SEEDS)
    if not races:
        return n_wanted
    for n in range(MIN_N_SEEDS, n_seeds):
        racing = [candidate for candidate in values if n_wanted[candidate] > n]
        seen = {c: {s: v for s, v in values[c].items() if s < n} for c in racing}
        if any(len(of_candidate) < n for of_candidate in seen.values()):
            break
        n_wanted |= dict.fromkeys(find_hopeless(seen, scale), n)
    return n_wanted


def list_wanted(
    candidates: Candidates, n_wanted: Mapping[Candidate, int]
) -> list[tuple[Candidate, int]]:
    """Return which candidates are to be trained with which seeds, in this order: seed by seed.

    But as long as it is not known at which learning rate a λ is judged, the seeds after those that
    decide come last: most of them will not be wanted.
    """
    rivals = {
        candidate
        for row in candidates.rows
        if sum(n_wanted[c] > N_SEEDS for c in set(row)) > 1
        for candidate in row
    }
    seeds = range(max(n_wanted.values()))
    pairs = [(c, seed) for seed in seeds for c in candidates.distinct if seed < n_wanted[c]]
    return sorted(pairs, key=lambda pair: pair[1] >= N_SEEDS and pair[0] in rivals)


def _n_until_missing(values: Values, n_seeds: int) -> int:
    missing = [seed for seed, value in values.items() if value is None]
    return min(missing) + 1 if missing else n_seeds
