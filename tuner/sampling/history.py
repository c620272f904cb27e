"""Which trials of a study are new or may have changed since they were last looked at.

Optuna's sampler and pruner read all finished trials again for every suggestion and every check.
A finished trial never changes, so what was computed from it can be kept.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial


class TrialHistory:
    """The trials that were seen last, to find what has changed in the next list of them."""

    def __init__(self) -> None:
        self._seen: list[FrozenTrial] = []
        self._unfinished: list[int] = []

    def changes(self, trials: Sequence[FrozenTrial]) -> tuple[bool, Sequence[int]]:
        """Return whether this list continues the last one, and the positions to read (again).

        It continues the last one if all trials that were finished are still at their positions:
        then the positions are those of trials that were unfinished or have been added. Otherwise
        (another study, or a deleted one whose ids the database gave away again) they are all.
        """
        positions: Sequence[int] = [*self._unfinished, *range(len(self._seen), len(trials))]
        for position in self._unfinished:
            if position < len(trials):
                self._seen[position] = trials[position]
        self._seen.extend(trials[len(self._seen) :])
        # Trials that a storage keeps are compared by identity, some nanoseconds each.
        continues = self._seen == trials
        if not continues:
            self._seen = list(trials)
            positions = range(len(trials))
        self._unfinished = [p for p in positions if not trials[p].state.is_finished()]
        return continues, positions
