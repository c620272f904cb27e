"""The study that a service is measured on: long, mostly pruned, confirmed, its answer recorded."""

from sqlalchemy import update

from benchmarks.history import fill_study
from benchmarks.setting import DATASET
from storage import Role, create_storage, create_token
from storage.schema import budgets
from tuner.answer.record import publish
from tuner.confirmation.values import (
    CONFIRMATION,
    Confirmation,
    Rung,
    Score,
    Verdict,
    make_candidate,
)
from tuner.study import LoadedStudy, create_or_resume

STUDY = "served"

_N_PRUNED_OF_10 = 7
_SEEDS = (101, 102, 103, 104, 105)
_N_RUNGS = 9
_MANY_TRIALS = 100_000  # more than there is time for


def create_served_study(url: str, n_trials: int, train_size: int | None = None) -> str:
    """Create the study with so many finished trials; return a viewer's token.

    There is budget left: a worker that joins trains on, with so many images an epoch.
    """
    storage = create_storage(url)
    options = {"dataset": DATASET} | ({} if train_size is None else {"train_size": train_size})
    loaded = create_or_resume(storage, STUDY, options, n_trials=_MANY_TRIALS)
    fill_study(storage.engine, loaded.study_id, n_trials, n_pruned_of_10=_N_PRUNED_OF_10)
    with storage.engine.begin() as connection:
        connection.execute(update(budgets).values(n_claimed=n_trials))
    _confirm(loaded)
    publish(loaded)
    _, token = create_token(storage.engine, Role.VIEWER)
    storage.engine.dispose()
    return token


def _confirm(loaded: LoadedStudy) -> None:
    """Let fresh seeds have spoken, as `tuner confirm` stores it."""
    best = loaded.study.best_trial
    rungs = tuple(
        Rung(
            candidate=make_candidate(
                1e-5 * 2.0**i, {"weight_decay": 1e-5 * 2.0**i, "lr": 0.3}, "ladder"
            ),
            values=dict.fromkeys(_SEEDS, 0.97 - i / 1000),
            mean=0.97 - i / 1000,
            standard_error=0.0015,
        )
        for i in range(_N_RUNGS)
    )
    score = Score(mean=0.97, standard_error=0.0015, n_seeds=len(_SEEDS))
    confirmation = Confirmation(
        study=f"{loaded.name}/confirm",
        direction="maximize",
        seeds=_SEEDS,
        rungs=rungs,
        lambda_min=0,
        lambda_1se=1,
        search_trial=best.number,
        search_value=best.values[0],
        optimism=0.01,
        verdict=Verdict(kind="does not matter", text="λ does not matter here."),
        test={"min": score, "1se": score},
    )
    loaded.study.set_user_attr(CONFIRMATION, confirmation.model_dump(mode="json"))
