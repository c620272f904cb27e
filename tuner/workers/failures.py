"""How many trials of a study have failed one after another, and what the first said."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from storage import is_given_back


@dataclass(frozen=True)
class FailureRow:
    """Failures one after another, in the order of their ends."""

    n_failures: int
    first_error: str


def find_failure_row(trials: Sequence[FrozenTrial], first_number: int) -> FailureRow | None:
    """Return the row of failures that a study's trials from this number on end with, if any.

    Trials that were given back count for nothing.
    """
    ended = sorted(
        (
            trial
            for trial in trials
            if trial.number >= first_number
            and trial.datetime_complete is not None
            and not is_given_back(trial)
        ),
        key=lambda trial: (trial.datetime_complete, trial.number),
    )
    row: list[FrozenTrial] = []
    for trial in reversed(ended):
        if trial.state is not TrialState.FAIL:
            break
        row.append(trial)
    if not row:
        return None
    return FailureRow(len(row), str(row[-1].user_attrs.get("error", "no reason was recorded")))
