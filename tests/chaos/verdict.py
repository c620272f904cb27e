"""Whether a study's tables are in order after the faults: plain SQL, none of our own code."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import psycopg

from tests.chaos.objective import N_EPOCHS

_TRIALS = """
SELECT t.number, t.state,
  (SELECT count(*) FROM trial_values v WHERE v.trial_id = t.trial_id),
  (SELECT array_agg(i.step ORDER BY i.step)
     FROM trial_intermediate_values i WHERE i.trial_id = t.trial_id),
  EXISTS (SELECT FROM trial_user_attributes a
     WHERE a.trial_id = t.trial_id AND a.key = 'given_back'),
  (SELECT a.value_json::int FROM trial_user_attributes a
     WHERE a.trial_id = t.trial_id AND a.key = 'rerun_of')
FROM trials t JOIN studies s USING (study_id) WHERE s.study_name = %s ORDER BY t.number
"""
_BUDGET = """
SELECT b.n_trials, b.n_claimed,
  (SELECT count(*) FROM tuner_leases l WHERE l.study_id = b.study_id)
FROM tuner_budgets b JOIN studies s USING (study_id) WHERE s.study_name = %s
"""


@dataclass(frozen=True)
class Budget:
    """A study's budget as it stands in the tables."""

    n_trials: int
    n_claimed: int
    n_leases: int


@dataclass(frozen=True)
class _Trial:
    number: int
    state: str
    n_values: int
    steps: list[int] | None
    is_given_back: bool
    rerun_of: int | None

    @property
    def is_finished(self) -> bool:
        """Tell whether the trial counts as one of the budget."""
        return self.state in ("COMPLETE", "PRUNED") or (
            self.state == "FAIL" and not self.is_given_back
        )


def read_budget(connection: psycopg.Connection, study: str) -> Budget:
    """Return a study's budget."""
    row = connection.execute(_BUDGET, [study]).fetchone()
    assert row is not None
    return Budget(*row)


def _read_trials(connection: psycopg.Connection, study: str) -> list[_Trial]:
    return [_Trial(*row) for row in connection.execute(_TRIALS, [study])]


def summarise(connection: psycopg.Connection, study: str) -> str:
    """Return the counts of a study in one line."""
    trials = _read_trials(connection, study)
    states = Counter(
        "given back" if trial.is_given_back and trial.state == "FAIL" else trial.state
        for trial in trials
    )
    return f"{len(trials)} trials: " + ", ".join(f"{n} {name}" for name, n in states.items())


def find_problems(connection: psycopg.Connection, study: str, n_trials: int) -> list[str]:
    """Return what is wrong with a study that should have finished ``n_trials``; best is nothing."""
    trials = _read_trials(connection, study)
    budget = read_budget(connection, study)
    n_finished = sum(trial.is_finished for trial in trials)
    found = {
        "finished trials": (n_finished, n_trials),
        "trials of the budget": (budget.n_trials, n_trials),
        "slots claimed": (budget.n_claimed, n_trials),
        "leases left": (budget.n_leases, 0),
        "RUNNING trials": (sum(trial.state == "RUNNING" for trial in trials), 0),
    }
    problems = [f"{what}: {n}, not {due}" for what, (n, due) in found.items() if n != due]
    if [trial.number for trial in trials] != list(range(len(trials))):
        problems.append("trial numbers are not 0, 1, 2, ...")
    return [*problems, *_incomplete(trials), *_finished_twice(trials)]


def find_undeserved(connection: psycopg.Connection, study: str, n_frozen: int) -> list[str]:
    """Return what is wrong with the failures: only trials of frozen trainers may have failed."""
    failed = [t for t in _read_trials(connection, study) if t.state == "FAIL" and t.is_finished]
    numbers = ", ".join(str(trial.number) for trial in failed)
    return [f"{numbers} failed: more than the {n_frozen} trainers frozen"] * (
        len(failed) > n_frozen
    )


def _incomplete(trials: list[_Trial]) -> list[str]:
    """Return the trials that are COMPLETE without one value and one report an epoch."""
    expected = list(range(1, N_EPOCHS + 1))
    return [
        f"trial {trial.number} is COMPLETE with reports {trial.steps}, {trial.n_values} values"
        for trial in trials
        if trial.state == "COMPLETE" and (trial.steps != expected or trial.n_values != 1)
    ]


def _finished_twice(trials: list[_Trial]) -> list[str]:
    """Return the trials of which several reruns have finished: one slot was spent twice."""
    by_number = {trial.number: trial for trial in trials}
    finished: dict[int, list[int]] = defaultdict(list)
    for trial in trials:
        root = trial
        while root.rerun_of is not None:
            root = by_number[root.rerun_of]
        if trial.is_finished:
            finished[root.number].append(trial.number)
    return [
        f"trial {root} and its reruns finished {len(numbers)} times: {numbers}"
        for root, numbers in finished.items()
        if len(numbers) > 1
    ]
