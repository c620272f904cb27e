"""Parameters that hold an exponent: `10 ** trial.suggest_float("weight_decay", -6, -2)`.

Their values are no λ and no learning rate, so an answer that named them so would be a wrong one.
Pure functions, to be asked when a trial first suggests, and once more before anything is concluded.
"""

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

# What an answer says of a parameter by its name alone.
_MEANT = {"weight_decay": "λ itself", "lr": "the learning rate itself"}


def find_reason_against_range(name: str, low: float, high: float, log: bool) -> str | None:  # noqa: FBT001 (Optuna's)
    """Return why a parameter of this name cannot have this range, and the remedy; None if it can.

    For any other name it is None: only these two are taken for what they are called.
    """
    if name not in _MEANT or not (low < 0 or (log and low <= 0)):
        return None
    return f"{name} was suggested in [{low:g}, {high:g}]: {_ask(name)}"


def find_reason_against(name: str, distribution: BaseDistribution) -> str | None:
    """Return why a parameter of this name cannot have this distribution; None if it can."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        bounds = distribution.low, distribution.high, distribution.log
        return find_reason_against_range(name, *bounds)
    assert isinstance(distribution, CategoricalDistribution)
    numbers = [each for each in distribution.choices if isinstance(each, int | float)]
    return find_reason_against_range(
        name, min(numbers, default=0), max(numbers, default=0), log=False
    )


def find_reason_against_trial(trial: FrozenTrial) -> str | None:
    """Return why a trial's parameters are not what they are called; None if they may be."""
    for name in _MEANT:
        value, distribution = trial.params.get(name), trial.distributions.get(name)
        if isinstance(value, int | float) and value < 0:
            return f"{name} is {value:.4g} in trial {trial.number}: {_ask(name)}"
        if distribution is not None and (reason := find_reason_against(name, distribution)):
            return reason
    return None


def _ask(name: str) -> str:
    meant = _MEANT[name]
    return f"is it an exponent? Suggest {meant} (log=True), or name the parameter otherwise"
