"""Whose fault a trainer's death was: found out by running the suspected trial alone.

A trial is blamed for a death if it was alone in a fresh process. One that died beside others, or in
a process that had trained before, is run again without a mark, and then alone.
"""

from dataclasses import dataclass, field

from tuner.workers.crew import Crew, InTraining, Trainer

# After so many deaths among others, a trial is run alone.
_MAX_SHARED_DEATHS = 2


@dataclass(eq=False)
class Suspects:
    """The trials that may have killed their trainers, by the number that they had first."""

    crew: Crew
    max_retries: int
    _deaths: dict[int, int] = field(default_factory=dict)
    _suspected: set[int] = field(default_factory=set)
    _waiting: list[InTraining] = field(default_factory=list)  # claimed, for a fresh process
    reserved: Trainer | None = None  # for one of them

    @property
    def are_waiting(self) -> bool:
        """Tell whether trials are held that no trainer has."""
        return bool(self._waiting)

    def take(self, held: InTraining) -> bool:
        """Let a trial wait for a process of its own, if it is suspected."""
        if held.first not in self._suspected:
            return False
        self._waiting.append(held)
        return True

    def note_death(self, trainer: Trainer, held: InTraining) -> bool:
        """Note a trial that was in training when its trainer died; tell whether it is to blame."""
        is_alone = len(trainer.trials) == 1
        self._deaths[held.first] = self._deaths.get(held.first, 0) + 1
        if is_alone or self._deaths[held.first] >= _MAX_SHARED_DEATHS:
            self._suspected.add(held.first)
        return is_alone and (trainer.n_ended == 0 or not self.max_retries)

    def clear(self, held: InTraining) -> None:
        """Suspect a trial no more: it has ended."""
        self._suspected.discard(held.first)

    def release(self, trainer: Trainer) -> None:
        """Let a trainer that has become idle take others again."""
        if trainer is self.reserved and not trainer.trials:
            self.reserved = None

    def find_next(self) -> tuple[Trainer, InTraining] | None:
        """Return a suspect that can begin, and its trainer, idle and with a fresh process."""
        if not self._waiting:
            return None
        if self.reserved is None or self.reserved.is_retired:
            at_work = self.crew.at_work
            self.reserved = min(at_work, key=lambda each: len(each.trials), default=None)
        trainer = self.reserved
        if trainer is None or trainer.trials or not trainer.is_ready:
            return None
        if not trainer.is_fresh:
            self.crew.renew(trainer)
            return None
        return trainer, self._waiting.pop(0)
