"""A searched study and what fresh seeds said of it, made up of smooth numbers: no training."""

import math
import random
import statistics

from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from storage import create_storage
from tuner.confirmation.values import (
    CONFIRMATION,
    Candidate,
    Confirmation,
    Point,
    Rung,
    Source,
    Verdict,
    make_candidate,
)
from tuner.study import LoadedStudy, create_or_resume, open_confirmation

SEEDS = (101, 102, 103, 104, 105)
_SPACE = {
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
    "lr": FloatDistribution(1e-3, 1, log=True),
}
_SPACE_OF_CANDIDATES = {"weight_decay": FloatDistribution(0, 1), "lr": FloatDistribution(0, 100)}


def make_confirmed_study(
    url: str, *, n_trials: int = 40, n_rungs: int = 9, last_loss: float | None = None
) -> LoadedStudy:
    """Create a study with trials of all kinds, its confirming study, and its `Confirmation`."""
    loaded = make_searched_study(url, n_trials=n_trials)
    candidates = _candidates(loaded.study.best_params, n_rungs)
    rungs = tuple(_make_rung(candidate) for candidate in candidates)
    _make_confirming_study(loaded, rungs, last_loss)
    means = [rung.mean or 0 for rung in rungs]
    best = means.index(max(means))
    threshold = means[best] - (rungs[best].standard_error or 0)
    simplest = max(
        (i for i, rung in enumerate(rungs) if means[i] >= threshold),
        key=lambda i: rungs[i].candidate.strength,
    )
    search = next(rung for rung in rungs if rung.candidate.source == "search")
    best_value = loaded.study.best_value
    confirmation = Confirmation(
        study="digits/confirm",
        direction="maximize",
        seeds=SEEDS,
        rungs=rungs,
        lambda_min=best,
        lambda_1se=simplest,
        profile=tuple(
            Point(
                strength=rung.candidate.strength,
                companion=rung.candidate.params["lr"],
                value=rung.mean or 0,
            )
            for rung in rungs
            if rung.candidate.source != "search"
        ),
        search_trial=loaded.study.best_trial.number,
        search_value=best_value,
        optimism=best_value - (search.mean or 0),
        verdict=Verdict(kind="matters", text="λ matters here: 0 is worse by 0.0049 ± 0.0007."),
    )
    loaded.study.set_user_attr(CONFIRMATION, confirmation.model_dump(mode="json"))
    return loaded


def make_searched_study(url: str, *, n_trials: int = 40) -> LoadedStudy:
    """Create a study with complete, pruned and diverged trials, and no confirmation."""
    loaded = create_or_resume(
        create_storage(url), "digits", {"dataset": "digits"}, n_trials=n_trials
    )
    rng = random.Random(7)
    for number in range(n_trials):
        params = {
            "weight_decay": 10 ** rng.uniform(-5, -2),
            "lr": 10 ** min(0, rng.triangular(-3, 0.3, -0.3)),
        }
        value = _accuracy(params["weight_decay"], params["lr"]) + rng.gauss(0, 0.002)
        state = TrialState.PRUNED if number % 5 and value < 0.87 else TrialState.COMPLETE
        is_diverged = params["lr"] > 0.9
        loaded.study.add_trial(
            create_trial(
                state=TrialState.PRUNED if is_diverged else state,
                value=value,
                params=params,
                distributions=_SPACE,
                intermediate_values={} if is_diverged else {1: value - 0.05, 2: value},
                user_attrs={"worker": "host:1", **({"diverged": True} if is_diverged else {})},
            )
        )
    return loaded


def _accuracy(weight_decay: float, lr: float) -> float:
    at, pace = math.log10(weight_decay or 1e-7), math.log10(lr)
    bump = 0.005 * math.exp(-(((at + 2.7) / 0.5) ** 2))
    return 0.8845 + bump - 0.012 * (pace + 0.5) ** 2 - 0.03 * max(0, at + 2.4) ** 2


def _candidates(best: dict[str, float], n_rungs: int) -> list[Candidate]:
    sources: list[tuple[float, float, Source]] = [
        (0, 0.31, "zero"),
        (best["weight_decay"], best["lr"], "search"),
    ]
    for rung in range(n_rungs):
        share = rung / (n_rungs - 1)
        sources.append((10 ** (-5 + 3 * share), 10 ** (-0.5 - 0.24 * share), "ladder"))
    return [make_candidate(wd, {"weight_decay": wd, "lr": lr}, s) for wd, lr, s in sorted(sources)]


def _make_rung(candidate: Candidate) -> Rung:
    base = _accuracy(candidate.strength, candidate.params["lr"])
    is_dropped = candidate.strength >= 0.009
    seeds = SEEDS[:3] if is_dropped else SEEDS
    values = {
        seed: round(base + 0.0025 * math.sin(seed * 7 + 4000 * candidate.strength), 4)
        for seed in seeds
    }
    return Rung(
        candidate=candidate,
        values=values,
        mean=statistics.fmean(values.values()),
        standard_error=statistics.stdev(values.values()) / math.sqrt(len(values)),
        is_dropped=is_dropped,
    )


def _make_confirming_study(
    loaded: LoadedStudy, rungs: tuple[Rung, ...], last_loss: float | None
) -> None:
    study = open_confirmation(loaded).study
    for rung in rungs:
        weight_decay, lr = rung.candidate.strength, rung.candidate.params["lr"]
        strength = weight_decay * 300
        for seed, value in rung.values.items():
            noise = 0.01 * math.sin(seed)
            loss = 0.002 + 0.12 * strength / (1 + strength) * (1 + noise)
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    value=value,
                    params={"weight_decay": weight_decay, "lr": lr},
                    distributions=_SPACE_OF_CANDIDATES,
                    intermediate_values={60: value},
                    user_attrs={
                        "seed": seed,
                        "source": rung.candidate.source,
                        "training_value": 1 - 0.04 * strength / (1 + strength) * (1 + noise),
                        "training_loss": [2.0, 0.5, last_loss or loss],
                        "weight_norm": 14 / (1 + strength) * (1 + noise / 3),
                    },
                )
            )
