"""`--warm-start STUDY`: an earlier study's trials teach the sampler, and that is all they do."""

import math
import statistics

import pytest
from optuna.trial import TrialState, create_trial

from storage import create_storage, open_storage
from tests.conftest import Cli
from tests.tuner.confirmed import make_searched_study
from tuner.report import list_trials, load_status
from tuner.selection import get_best_trial
from tuner.space import find_space, suggest
from tuner.study import LoadedStudy, create_or_resume, load_study, with_sampler
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving


def _fitting(source: LoadedStudy) -> list[int]:
    complete = source.study.get_trials(states=(TrialState.COMPLETE,))
    return [trial.number for trial in complete if trial.params["weight_decay"] >= 1e-4]


@pytest.mark.db
@pytest.mark.heavy
def test_trials_of_an_earlier_study_teach_and_are_never_the_answer(
    call: Cli, storage_url: str
) -> None:
    """Marked, counted for no budget, imported once; those out of range are not."""
    source = make_searched_study(storage_url, n_trials=30)
    taught, n_complete = (
        _fitting(source),
        len(source.study.get_trials(states=(TrialState.COMPLETE,))),
    )
    assert 0 < len(taught) < n_complete
    options = ("--dataset", "digits", "--epochs", "1", "--train-size", "100", "--trials", "3")
    options = (*options, "--weight-decay", "1e-4", "1e-2", "--warm-start", "digits")
    for n_new in (len(taught), 0):
        created = call("create", "--study", "s", *options, "--storage", storage_url)
        assert created.returncode == 0, created.stderr
        assert (
            f"Warm start: {len(taught)} trials of study 'digits' teach the sampler, {n_new} of "
            f"them new; {n_complete - len(taught)} are left out, whose parameters lie outside of"
        ) in created.stderr
    loaded = load_study(open_storage(storage_url), "s")
    imported = loaded.study.get_trials()
    marks = [trial.user_attrs["imported_from"] for trial in imported]
    assert marks == [{"study": "digits", "trial": number} for number in taught]
    assert {row["note"] for row in list_trials(loaded)} == {"imported"}

    run_worker(WorkerConfig(storage_url, "s"), Leaving())
    status = load_status(loaded)
    assert (status.n_finished, status.n_trials) == (3, 3)
    assert get_best_trial(loaded).number >= len(taught)
    assert "'s'" not in call("storage", "check", "--storage", storage_url).stderr


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_first_suggestions_are_where_the_earlier_trials_were_good(
    sqlite_url: str, sampler: str
) -> None:
    """A study that begins cold looks everywhere."""
    storage = create_storage(sqlite_url)
    earlier = create_or_resume(storage, "earlier", {})
    space = find_space(earlier.spec)
    for number in range(20):
        params = {"lr": 10 ** (-3 + 3 * number / 20), "weight_decay": 1e-3}
        value = 1 - _distance(params["lr"])
        earlier.study.add_trial(create_trial(value=value, params=params, distributions=space))
    found = {}
    for name, warm_start in (("cold", None), ("warm", "earlier")):
        loaded = create_or_resume(storage, name, {"sampler": sampler}, warm_start=warm_start)
        study = with_sampler(loaded, storage, 0)
        found[name] = [_distance(suggest(study.ask(), space)["lr"]) for _ in range(5)]
    assert statistics.mean(found["warm"]) < statistics.mean(found["cold"]) / 2


def _distance(lr: float) -> float:
    return abs(math.log10(lr / 0.3))


def test_function_takes_all_trials_of_an_earlier_one(sqlite_url: str) -> None:
    """It states its space to each trial: what fits is known when one has been trained."""
    storage = create_storage(sqlite_url)
    options = {"objective": "tests.chaos.objective:bowl", "direction": "minimize"}
    create_or_resume(storage, "earlier", options, n_trials=4)
    run_worker(WorkerConfig(sqlite_url, "earlier"), Leaving())
    loaded = create_or_resume(storage, "s", options, n_trials=2, warm_start="earlier")
    assert len(loaded.study.trials) == 4
    run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    assert (len(loaded.own_trials()), load_status(loaded).n_finished) == (2, 2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param(("--warm-start", "none"), "There is no study 'none'", id="no such study"),
        pytest.param(
            ("--warm-start", "digits", "--sampler", "random"),
            "--warm-start has no effect on sampler 'random': choose tpe or gp",
            id="learns nothing",
        ),
        pytest.param(
            ("--warm-start", "digits", "--objective", "tests.chaos.objective:bowl"),
            "its trials are to maximize validation accuracy, those of this study to maximize "
            "objective value: they would teach the wrong thing",
            id="another metric",
        ),
    ],
)
def test_study_that_could_not_learn_is_refused_before_it_is_made(
    call: Cli, sqlite_url: str, options: tuple[str, ...], reason: str
) -> None:
    """One line that says why."""
    create_or_resume(create_storage(sqlite_url), "digits", {"dataset": "digits"})
    refused = call("create", "--study", "s", *options, "--storage", sqlite_url)
    assert refused.returncode in (1, 2)
    assert refused.stderr.count("\n") == 1
    assert reason in refused.stderr
    assert [s.study_name for s in open_storage(sqlite_url).get_all_studies()] == ["digits"]


def test_study_does_not_teach_itself(call: Cli, sqlite_url: str) -> None:
    """Its trials would count twice."""
    create_or_resume(create_storage(sqlite_url), "digits", {"dataset": "digits"})
    itself = ("--study", "digits", "--warm-start", "digits", "--storage", sqlite_url)
    refused = call("create", *itself)
    assert (refused.returncode, refused.stderr) == (
        2,
        "tuner: --warm-start 'digits' is the study itself: name an earlier one\n",
    )
