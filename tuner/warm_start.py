"""Let the complete trials of an earlier study teach the sampler of another one.

They are put into it as imported trials are: they count for no budget, and are never its answer.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial
from sqlalchemy import Engine

from storage import fits, import_trials
from tuner.errors import UsageError
from tuner.space import find_space
from tuner.spec import Spec

logger = logging.getLogger(__name__)

_LEARNING = ("tpe", "gp")  # Optuna's CMA-ES passes over trials that are not its own


@dataclass(frozen=True)
class Teacher:
    """An earlier study: its name, its spec and its complete trials."""

    name: str
    spec: Spec
    trials: Sequence[FrozenTrial]

    def check(self, name: str, pupil: Spec) -> None:
        """Refuse a study that could learn nothing, or the wrong thing (UsageError)."""
        if name == self.name:
            raise UsageError(f"--warm-start {name!r} is the study itself: name an earlier one")
        if pupil.sampler not in _LEARNING:
            raise UsageError(
                f"--warm-start has no effect on sampler {pupil.sampler!r}: choose "
                f"{' or '.join(_LEARNING)}"
            )
        mine, theirs = (
            (spec.facts.metric.direction, spec.facts.metric.name) for spec in (self.spec, pupil)
        )
        if mine != theirs:
            raise UsageError(
                f"--warm-start {self.name!r}: its trials are to {' '.join(mine)}, those of this "
                f"study to {' '.join(theirs)}: they would teach the wrong thing"
            )

    def teach(self, engine: Engine, study_id: int, pupil: Spec) -> None:
        """Import the trials that lie in the pupil's space; the log tells how many. Repeatable."""
        space = find_space(pupil)
        fitting = [fitted for trial in self.trials if (fitted := _fit(trial, space)) is not None]
        n_new = import_trials(engine, study_id, self.name, fitting)
        n_out = len(self.trials) - len(fitting)
        logger.log(
            logging.WARNING if n_out else logging.INFO,
            "Warm start: %d trials of study %r teach the sampler, %d of them new; %d are left out, "
            "whose parameters lie outside of this study's space",
            *(len(fitting), self.name, n_new, n_out),
        )


def _fit(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> FrozenTrial | None:
    """Return a trial with the parameters of a space; None if it has not got all of them, in range.

    With fewer, samplers would suggest those that are missing apart from the others. A function
    states its space to each trial: those are taken as they are, and shown to samplers as they fit.
    """
    if not all(
        name in trial.params and fits(each, trial.params[name]) for name, each in space.items()
    ):
        return None
    distributions = dict(space) or trial.distributions
    fitted = create_trial(
        values=trial.values,
        params={name: trial.params[name] for name in distributions},
        distributions=distributions,
    )
    fitted.number = trial.number
    fitted.datetime_start, fitted.datetime_complete = trial.datetime_start, trial.datetime_complete
    return fitted
