"""What ends a study, or a trial, that only costs: failures in a row, time without an end.

Kept with the study, as an attribute of its own; workers read it when they join.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import optuna

_BRAKES = "brakes"
_OUT_OF_MEMORY = "out-of-memory"


class Brakes(BaseModel):
    """How much may go wrong; None is no limit, times are seconds."""

    model_config = ConfigDict(frozen=True)

    max_failures: int = Field(default=10, ge=0)  # in a row; 0: any number
    trial_timeout: float | None = Field(default=None, gt=0)
    silence_timeout: float | None = Field(default=None, gt=0)
    retry_on: tuple[str, ...] = ()
    trials_per_process: int | None = Field(default=None, ge=1)

    def retries(self, error: str, kinds: Sequence[str]) -> bool:
        """Tell whether a trial with this error is to be run again, as often as after deaths.

        ``kinds`` are the names of the exception's classes.
        """
        is_out_of_memory = "out of memory" in error.lower() or "MemoryError" in kinds
        is_out_of_memory |= any(kind.startswith("OutOfMemory") for kind in kinds)
        return (_OUT_OF_MEMORY in self.retry_on and is_out_of_memory) or any(
            kind in self.retry_on for kind in kinds
        )


def load_brakes(study: "optuna.Study") -> Brakes:
    """Return the study's brakes, the defaults where none were given."""
    return Brakes(**study.user_attrs.get(_BRAKES, {}))


def change_brakes(study: "optuna.Study", given: Mapping[str, Any]) -> None:
    """Keep with the study those brakes that were given; the others stay."""
    if given:
        stored = study.user_attrs.get(_BRAKES, {})
        changed = Brakes(**{**stored, **given}).model_dump(mode="json", exclude_defaults=True)
        study.set_user_attr(_BRAKES, changed)
