"""What fresh seeds say of a study's λ: frozen values, stored with the study as ``confirmation``.

How they come about is told in ``confirm`` (training) and ``evidence`` (arithmetic).
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# The user attribute of the searched study that holds its `Confirmation`.
CONFIRMATION = "confirmation"

Source = Literal["zero", "ladder", "search"]
VerdictKind = Literal["matters", "does not matter", "edge"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(_Value):
    """A λ with the learning rate at which it is judged, and why it is one.

    ``zero`` is the control without a penalty, ``ladder`` a rung of the log-spaced λ ladder,
    ``search`` the configuration of the search's best trial.
    """

    weight_decay: float = Field(ge=0)
    lr: float = Field(gt=0)
    source: Source


class Score(_Value):
    """A mean over fresh seeds and its standard error, of a number of seeds."""

    mean: float
    standard_error: float | None
    n_seeds: int


class Rung(_Value):
    """A candidate and its final values by fresh seed: validation accuracies, fractions in 0..1.

    Of a function objective, its values. ``mean`` and ``standard_error`` (of the mean, over seeds)
    are those of ``values``; None where there are too few. A dropped candidate was found hopeless
    before all seeds were spent on it, or has diverged; it is no longer in the choice.
    """

    candidate: Candidate
    values: dict[int, float]
    mean: float | None
    standard_error: float | None
    is_dropped: bool = False

    @property
    def score(self) -> Score | None:
        """Mean and standard error over its seeds; None without a value."""
        if self.mean is None:
            return None
        return Score(mean=self.mean, standard_error=self.standard_error, n_seeds=len(self.values))


class Verdict(_Value):
    """Whether λ matters here, in a word and in a sentence; at an edge, the range to search next."""

    kind: VerdictKind
    text: str
    suggested_range: tuple[float, float] | None = None


class Confirmation(_Value):
    """The answer of fresh seeds to the question which λ.

    ``rungs`` ascend in weight_decay; ``lambda_min`` and ``lambda_1se`` are positions in it.
    ``margin`` is how far behind the best mean ``lambda_1se`` may be; None of answers older than it.
    ``optimism`` is ``search_value``, the best trial's value in the search, minus the mean of its
    configuration over fresh seeds. ``test`` holds the one look at the test set, for built-in
    objectives, by rule.
    """

    study: str  # where the trials are: NAME/confirm
    direction: Literal["maximize", "minimize"]
    seeds: tuple[int, ...]
    rungs: tuple[Rung, ...]
    lambda_min: int
    lambda_1se: int
    margin: float | None = None
    search_trial: int  # the best trial's number in the searched study
    search_value: float
    optimism: float | None
    verdict: Verdict
    test: dict[Literal["min", "1se"], Score] = {}

    def chosen(self, rule: Literal["min", "1se"]) -> Rung:
        """Return the rung that a rule chooses."""
        return self.rungs[self.lambda_min if rule == "min" else self.lambda_1se]
