"""Which code of other people's a study may name.

A study's objective may be ``package.module:function``, which workers import and call. Whoever can
write a study could so choose what runs on them. So a process that takes studies from others is told
when it is started which modules they may name; what the database says changes nothing about that.
"""

from dataclasses import dataclass

from tuner.errors import NotAllowedError


@dataclass(frozen=True)
class AllowedObjectives:
    """The modules whose functions may be objectives, or single ``module:function`` of them."""

    names: frozenset[str] = frozenset()

    def includes(self, objective: str) -> bool:
        """Tell whether a study with this objective may be taken; built-in ones always may."""
        module, colon, _ = objective.partition(":")
        return not colon or module in self.names or objective in self.names

    def check(self, objective: str) -> None:
        """Raise NotAllowedError unless the objective may be used; imports nothing."""
        if not self.includes(objective):
            module = objective.partition(":")[0]
            raise NotAllowedError(
                f"Objective {objective!r} names code that was not allowed here: start this "
                f"with --allow-objective {module} if you trust it"
            )
