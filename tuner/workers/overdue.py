"""Which trials take too long: by the study's brakes, or beside the others."""

import logging
import statistics
import time
from dataclasses import dataclass, field

from tuner.brakes import Brakes
from tuner.workers.crew import Crew, InTraining

logger = logging.getLogger(__name__)

# What is longer between two looks, ten a second, counts for no trial's time.
_AWAY_SECONDS = 1.0
# A trial that takes so many times the median of the complete ones, and longer than a moment, is
# said once.
_FACTOR, _LEAST_SECONDS, _LEAST_DURATIONS = 10, 5.0, 5


@dataclass(eq=False)
class Watch:
    """Looks at the trials in training, now and then; the time of a pause counts for nothing."""

    brakes: Brakes
    durations: list[float] = field(default_factory=list)
    looked_at: float = field(default_factory=time.monotonic)

    def note_complete(self, held: InTraining) -> None:
        """Note how long a complete trial took."""
        self.durations.append(time.monotonic() - held.started_at)

    def find_overdue(self, crew: Crew) -> list[tuple[InTraining, str]]:
        """Return the trials that are to be ended, and why; one a trainer, which ends with it."""
        now, before = time.monotonic(), self.looked_at
        self.looked_at = now
        # A process that was frozen, or has waited for the database, has listened to nobody.
        away = now - before if crew.is_paused else max(0.0, now - before - _AWAY_SECONDS)
        found = []
        for trainer in crew.trainers:
            for held in trainer.trials.values():
                held.started_at = min(now, held.started_at + away)
                held.heard_at = min(now, held.heard_at + away)
                reason = None if crew.is_paused else self._explain(held, now)
                if reason is not None:
                    found.append((held, reason))
                    break
        return found

    def _explain(self, held: InTraining, now: float) -> str | None:
        seconds, silence = now - held.started_at, now - held.heard_at
        limit, longest_silence = self.brakes.trial_timeout, self.brakes.silence_timeout
        if limit is not None and seconds > limit:
            return f"no end after {limit:g} s (--trial-timeout)"
        if longest_silence is not None and silence > longest_silence:
            return f"no report for {longest_silence:g} s (--silence-timeout)"
        self._mention_if_long(held, seconds, silence)
        return None

    def _mention_if_long(self, held: InTraining, seconds: float, silence: float) -> None:
        if held.has_been_mentioned or seconds < _LEAST_SECONDS:
            return
        if len(self.durations) < _LEAST_DURATIONS:
            return
        median = statistics.median(self.durations)
        if seconds > _FACTOR * median:
            held.has_been_mentioned = True
            logger.warning(
                "Trial %d has taken %.0f s, more than %d times the complete trials' median of "
                "%.3g s, and has said nothing for %.0f s; --trial-timeout would end such trials",
                *(held.number, seconds, _FACTOR, median, silence),
                extra={"trial": held.number},
            )
