"""One case of the corpus: an objective, the study it runs in, and how the outcome may differ."""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

PACKAGE = "tests.compatibility.objectives"
ALL = ("sqlite", "postgresql", "mysql")


@dataclass(frozen=True)
class Difference:
    """An outcome that is not Optuna's: a row of the table in docs/as-optuna-does.md."""

    what: str
    optuna: str
    here: str
    why: str
    states: str  # of the trials here, in order: C, P, F and W for Optuna's names
    best: int | None  # the number of the best trial here
    databases: tuple[str, ...] = ALL  # elsewhere there is no difference
    is_certain: bool = True  # or it may come out as under Optuna by chance


@dataclass(frozen=True)
class Case:
    """An objective as ``module:function``, how many trials it gets, and what the study has."""

    objective: str
    n_trials: int = 2
    variant: str = ""  # tells cases of one objective from each other
    direction: Literal["minimize", "maximize"] = "minimize"
    sampler: str = "random"
    pruner: str = "none"
    added: tuple[FrozenTrial, ...] = field(default=(), repr=False)
    differs: Difference | None = None

    @property
    def name(self) -> str:
        """How its studies are called."""
        return f"{self.objective}, {self.variant}" if self.variant else self.objective

    @property
    def path(self) -> str:
        """The objective as the command line takes it."""
        return f"{PACKAGE}.{self.objective}"

    @property
    def promise(self) -> str:
        """What the objective does, in the words of its docstring."""
        module, _, name = self.objective.partition(":")
        found = getattr(import_module(f"{PACKAGE}.{module}"), name)
        text = found.__doc__ if hasattr(found, "__name__") else None
        words = [(text or "").partition("\n")[0].rstrip("."), self.variant]
        return ": ".join(word for word in words if word)

    def prepare(self, study: optuna.Study) -> None:
        """Put into a new study what it has before its first trial."""
        study.add_trials(self.added)

    def find_difference(self, database: str) -> Difference | None:
        """Return how the outcome differs on a kind of database, if it does."""
        is_there = self.differs is not None and database in self.differs.databases
        return self.differs if is_there else None


def enqueued(attrs: dict[str, Any] | None = None, /, **params: Any) -> FrozenTrial:
    """Return the trial that ``Study.enqueue_trial`` would add."""
    return optuna.create_trial(
        state=TrialState.WAITING, system_attrs={"fixed_params": params}, user_attrs=attrs
    )
