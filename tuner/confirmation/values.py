"""What fresh seeds say of a study's λ: frozen values, stored with the study as ``confirmation``.

How they come about is told in ``confirm`` (training) and ``evidence`` (arithmetic).
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tuner.strict_json import find_texts, read_params, write_params

# The user attribute of the searched study that holds its `Confirmation`.
CONFIRMATION = "confirmation"

Source = Literal["zero", "ladder", "search"]
VerdictKind = Literal["matters", "does not matter", "edge"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(_Value):
    """A λ with the complete configuration that it was trained with, and why it was.

    ``zero`` is the control without a penalty, ``ladder`` another λ of the ladder, ``search`` (of
    older versions) the configuration of the search's best trial. ``written`` are the parameters as
    JSON can hold them, ``as_text`` those that are numbers and stand there as text.
    """

    strength: float
    written: dict[str, Any]
    as_text: tuple[str, ...] | None = None
    source: Source

    @property
    def params(self) -> dict[str, Any]:
        """All parameters, as they were suggested."""
        return read_params(self.written, self.as_text)


def make_candidate(strength: float, params: Mapping[str, Any], source: Source) -> Candidate:
    """Return a candidate with these parameters, whatever numbers they are."""
    return Candidate(
        strength=strength,
        written=write_params(params),
        as_text=find_texts(params),
        source=source,
    )


class Score(_Value):
    """A mean over fresh seeds and its standard error, of a number of seeds."""

    mean: float
    standard_error: float | None
    n_seeds: int


class Rung(_Value):
    """A candidate and its final values by fresh seed.

    ``mean`` and ``standard_error`` (of the mean, over seeds) are those of ``values``; None where
    there are too few. A dropped candidate has diverged or failed on some seed, or was found
    hopeless by an older version; it is not in the choice. ``by_fold`` are the means over those
    seeds of each fold, where the study has folds: the same data for all seeds.
    """

    candidate: Candidate
    values: dict[int, float]
    mean: float | None
    standard_error: float | None
    is_dropped: bool = False
    by_fold: tuple[float, ...] = Field(default=(), exclude_if=lambda folds: not folds)

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


class Point(_Value):
    """The surface's best value at a strength, and the companion that it is at."""

    strength: float
    companion: float | None
    value: float


class Confirmation(_Value):
    """The answer of fresh seeds to the question which λ.

    ``strength`` and ``companion`` name the parameters. ``rungs`` are what was checked on ``seeds``
    that had no say in the choice, ascending in strength; ``lambda_min`` and ``lambda_1se`` are
    positions in it, of what each rule exports. ``profile`` is the surface that they were chosen on,
    and ``companions`` the range of the companion in which it lies.

    ``optimism`` is ``search_value``, the best trial's value in the search, less what fresh seeds
    say of its configuration. ``test`` holds the one look at the test set, by rule.

    Answers of versions before 0.2 have a ladder as rungs and no profile; ``lacks_others`` tells
    that they leave parameters but λ and learning rate to the best trial.
    """

    study: str  # where the trials are: NAME/confirm
    direction: Literal["maximize", "minimize"]
    seeds: tuple[int, ...]
    strength: str = "weight_decay"
    companion: str | None = "lr"
    rungs: tuple[Rung, ...]
    lambda_min: int
    lambda_1se: int
    profile: tuple[Point, ...] = ()
    companions: tuple[float, float] | None = None
    ridge_slope: tuple[float, float, float] | None = None  # and its interval
    search_trial: int  # the best trial's number in the searched study
    search_value: float
    optimism: float | None
    verdict: Verdict
    test: dict[Literal["min", "1se"], Score] = {}
    lacks_others: bool = Field(default=False, exclude_if=lambda lacks: not lacks)

    @model_validator(mode="before")
    @classmethod
    def _read_old(cls, stored: Any) -> Any:
        """Take an answer of an older version, whose candidates were a λ and a learning rate."""
        if not isinstance(stored, Mapping) or not _is_old(stored):
            return stored
        new = {key: value for key, value in stored.items() if key not in _OLD_FIELDS}
        shared, texts = stored.get("params"), stored.get("params_as_text")
        new["rungs"] = [_read_old_rung(rung, shared or {}, texts) for rung in stored["rungs"]]
        return {**new, "lacks_others": shared is None}

    def chosen(self, rule: Literal["min", "1se"]) -> Rung:
        """Return the rung that a rule chooses."""
        return self.rungs[self.lambda_min if rule == "min" else self.lambda_1se]

    def find_companion(self, candidate: Candidate) -> float | None:
        """Return a candidate's companion, if there is one."""
        value = None if self.companion is None else candidate.params.get(self.companion)
        return None if value is None else float(value)


_OLD_FIELDS = ("margin", "params", "params_as_text")


def _is_old(stored: Mapping[str, Any]) -> bool:
    rungs = stored.get("rungs") or ()
    return any(isinstance(r, Mapping) and "weight_decay" in r["candidate"] for r in rungs)


def _read_old_rung(
    rung: Mapping[str, Any], shared: Mapping[str, Any], texts: list[str] | None
) -> dict[str, Any]:
    old = rung["candidate"]
    own = {"weight_decay": old["weight_decay"], "lr": old["lr"]}
    candidate = {
        "strength": old["weight_decay"],
        "written": {**shared, **own},
        "as_text": texts,
        "source": old["source"],
    }
    return {**rung, "candidate": candidate}
