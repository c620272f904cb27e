"""Studies with finished trials, and what fresh seeds said of them, made by hand."""

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage import create_storage
from tuner.confirmation.values import (
    CONFIRMATION,
    Confirmation,
    Rung,
    Score,
    Verdict,
    make_candidate,
)
from tuner.study import LoadedStudy, create_or_resume

DISTRIBUTIONS = {
    "weight_decay": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True),
    "lr": optuna.distributions.FloatDistribution(1e-3, 1, log=True),
}
SEEDS = (101, 102, 103, 104, 105)
# As a version before 0.2 has stored it: candidates are a λ and a learning rate, others beside them.
OLD_ANSWER: dict[str, Any] = {
    "study": "s/confirm",
    "direction": "maximize",
    "seeds": [0, 1],
    "rungs": [
        {
            "candidate": {"weight_decay": 0.0, "lr": 0.3, "source": "zero"},
            "values": {"0": 0.9, "1": 0.92},
            "mean": 0.91,
            "standard_error": 0.01,
            "is_dropped": False,
        }
    ],
    "lambda_min": 0,
    "lambda_1se": 0,
    "margin": 0.01,
    "search_trial": 3,
    "search_value": 0.95,
    "optimism": None,
    "verdict": {"kind": "does not matter", "text": "λ does not matter here"},
    "test": {},
    "params": {"width": 9, "scale": "inf"},
    "params_as_text": ["scale"],
}


def trial(
    value: float, weight_decay: float, state: TrialState = TrialState.COMPLETE, epochs: int = 5
) -> FrozenTrial:
    """Return a trial that trained for some epochs, at lr 0.1."""
    return create_trial(
        state=state,
        value=value,
        params={"weight_decay": weight_decay, "lr": 0.1},
        distributions=DISTRIBUTIONS,
        intermediate_values=dict.fromkeys(range(1, epochs + 1), value),
        user_attrs={"worker": "host:1"},
    )


def make_study(url: str, name: str = "s's") -> LoadedStudy:
    """Create a study with three trials, the best being number 1, and its test accuracy."""
    loaded = create_or_resume(create_storage(url), name, {}, n_trials=3)
    for value, weight_decay in [(0.9, 1e-3), (0.97, 2e-4), (0.95, 1e-4)]:
        loaded.study.add_trial(trial(value, weight_decay))
    loaded.study.set_user_attr("test", {"trial": 1, "accuracy": 0.965})
    return loaded


def confirm(loaded: LoadedStudy, **changes: Any) -> Confirmation:
    """Store what fresh seeds said: λ_min is 0 (the control), λ_1se a rung at 1e-3."""
    others = loaded.study.get_trials(deepcopy=False)[1].params
    confirmation = Confirmation(
        **{
            "study": f"{loaded.name}/confirm",
            "direction": "maximize",
            "seeds": SEEDS,
            "rungs": (
                _rung(others, 0.0, 0.3, "zero", 0.962),
                _rung(others, 2e-4, 0.1, "search", 0.961),
                _rung(others, 1e-3, 0.2, "ladder", 0.9615),
                _rung(others, 1e-2, 0.2, "ladder", 0.9, n=3, is_dropped=True),
            ),
            "lambda_min": 0,
            "lambda_1se": 2,
            "search_trial": 1,
            "search_value": 0.97,
            "optimism": 0.009,
            "verdict": Verdict(kind="does not matter", text="λ does not matter here."),
            "test": {
                "min": Score(mean=0.96, standard_error=0.001, n_seeds=5),
                "1se": Score(mean=0.9595, standard_error=0.0012, n_seeds=5),
            },
            **changes,
        }
    )
    loaded.study.set_user_attr(CONFIRMATION, confirmation.model_dump(mode="json"))
    return confirmation


def _rung(
    others: Any, weight_decay: float, lr: float, source: Any, mean: float, n: int = 5, **more: Any
) -> Rung:
    return Rung(
        candidate=make_candidate(
            weight_decay, {**others, "weight_decay": weight_decay, "lr": lr}, source
        ),
        values=dict.fromkeys(SEEDS[:n], mean),
        mean=mean,
        standard_error=0.0008,
        **more,
    )
