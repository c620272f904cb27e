"""What the check on fresh seeds says: which λ is exported, optimism, and whether λ matters.

Pure arithmetic on plain values. What the rules are and why is told in ``docs/the-answer.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from tuner.confirmation.box import Box, Cell
from tuner.confirmation.plan import Choice, Results, make_trial
from tuner.confirmation.statistics import Values, is_finite, sign_of, summarise
from tuner.confirmation.values import Confirmation, Rung, make_candidate
from tuner.confirmation.verdict import Gain, decide
from tuner.errors import NoResultError
from tuner.spec import Direction


@dataclass(frozen=True)
class Check:
    """What was chosen in a box, the seeds that had no say, and results on them as in ``plan``.

    ``by_fold`` holds, of a study with folds, what each result is the mean over.
    """

    study: str
    direction: Direction
    box: Box
    choice: Choice
    seeds: tuple[int, ...]
    results: Results
    by_fold: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def read(self, cell: Cell) -> Values:
        """Return a cell's values by seed."""
        return {seed: self.results[self._key(cell, seed)] for seed in self.seeds}

    def read_folds(self, cell: Cell, seed: int) -> Sequence[float]:
        """Return what a value is the mean over; nothing without folds."""
        return self.by_fold.get(self._key(cell, seed), ())

    def _key(self, cell: Cell, seed: int) -> str:
        return make_trial(self.box, (cell, seed)).key


def judge(check: Check) -> Confirmation:
    """Return the answer; raises NoResultError if nothing has a value for every seed."""
    box, choice = check.box, check.choice
    ordered = sorted(choice.cells, key=lambda cell: (cell[0], cell[1] or 0.0))
    rungs = {cell: _make_rung(check, cell) for cell in ordered}
    if all(rung.is_dropped for rung in rungs.values()):
        raise NoResultError("No λ has a finite value for every fresh seed of the check")
    gains = {cell: _find_gain(check, cell) for cell in ordered}
    minimum, largest = (
        _export(cell, gains, rungs, choice.control) for cell in (choice.minimum, choice.largest)
    )
    companion = box.companion
    assert box.best.value is not None  # it is complete
    return Confirmation(
        study=check.study,
        direction=check.direction,
        seeds=check.seeds,
        strength=box.strength.name,
        companion=None if companion is None else companion.name,
        rungs=tuple(rungs.values()),
        lambda_min=ordered.index(minimum),
        lambda_1se=ordered.index(largest),
        profile=choice.profile,
        companions=None if companion is None else (companion.levels[0], companion.levels[-1]),
        ridge_slope=choice.slope,
        search_trial=box.best.number,
        search_value=box.best.value,
        optimism=sign_of(check.direction) * (box.best.value - choice.search),
        verdict=decide(gains[choice.rival], box, exported=largest[0]),
    )


def _make_rung(check: Check, cell: Cell) -> Rung:
    """Return a cell with its values; one without a value for every seed as dropped."""
    values = {seed: value for seed, value in check.read(cell).items() if is_finite(value)}
    mean, error = summarise(list(values.values()))
    folds = zip(*(check.read_folds(cell, seed) for seed in values), strict=False)
    return Rung(
        candidate=make_candidate(
            cell[0], check.box.params(cell), "zero" if cell[0] == 0 else "ladder"
        ),
        values=values,
        mean=mean,
        standard_error=error,
        is_dropped=len(values) < len(check.seeds),
        by_fold=tuple(map(fmean, folds)),  # none where one has none
    )


def _find_gain(check: Check, cell: Cell) -> Gain:
    """Return what a cell gains over the control, paired over the seeds that both have."""
    own, control = check.read(cell), check.read(check.choice.control)
    pairs = [(own[seed], control[seed]) for seed in check.seeds]
    both = [(x, y) for x, y in pairs if is_finite(x) and is_finite(y)]
    mean, error = summarise([sign_of(check.direction) * (x - y) for x, y in both])
    return Gain(
        strength=cell[0],
        control=check.choice.control[0],
        mean=mean or 0.0,
        error=error or 0.0,
        n_seeds=len(both),
        n_failed=sum(x is None and y is not None for x, y in pairs),
        n_control_failed=sum(y is None and x is not None for x, y in pairs),
    )


def _export(
    cell: Cell, gains: Mapping[Cell, Gain], rungs: Mapping[Cell, Rung], control: Cell
) -> Cell:
    """Return the cell, or the control in its place if it is worse by more than a standard error."""
    is_worse = rungs[cell].is_dropped or gains[cell].mean < -gains[cell].error
    if is_worse and not rungs[control].is_dropped:
        return control
    if not rungs[cell].is_dropped:
        return cell
    return max((c for c in rungs if not rungs[c].is_dropped), key=lambda c: gains[c].mean)
