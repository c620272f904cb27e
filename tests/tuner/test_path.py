"""The numbers behind the pictures of λ, read from studies made up for it."""

import math
import statistics

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from storage import create_storage
from tests.tuner.confirmed import SEEDS, make_confirmed_study, make_searched_study
from tuner.errors import NoResultError
from tuner.pictures.path import (
    LambdaPath,
    as_document,
    build_map,
    build_path,
    get_confirmation,
)
from tuner.selection import find_confirmation
from tuner.study import LoadedStudy, create_or_resume, load_study

pytestmark = pytest.mark.xdist_group("path")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedStudy:
    """Return a study that was confirmed."""
    return make_confirmed_study(f"sqlite:///{tmp_path_factory.mktemp('path') / 'tuner.db'}")


@pytest.fixture(scope="module")
def path(loaded: LoadedStudy) -> LambdaPath:
    """Return its path of λ."""
    return build_path(loaded, get_confirmation(loaded))


def test_path_holds_every_rung_in_ascending_lambda(path: LambdaPath) -> None:
    """λ = 0 comes first, then the ladder with the search's best where it belongs."""
    strengths = [rung.strength for rung in path.rungs]
    assert strengths == sorted(strengths)
    assert [rung.source for rung in path.rungs].count("ladder") == 9
    assert (path.rungs[0].source, path.rungs[0].strength) == ("zero", 0)
    assert (path.named.metric, path.n_seeds) == ("validation accuracy", 5)


def test_path_measures_are_means_over_the_rungs_own_seeds(
    loaded: LoadedStudy, path: LambdaPath
) -> None:
    """Mean and standard error are those of the last epoch of the trials with that λ and lr."""
    trials = load_study(loaded.storage, "digits/confirm").study.get_trials()
    rung = path.rungs[4]
    own = [t for t in trials if math.isclose(t.params["weight_decay"], rung.strength)]
    losses = [trial.user_attrs["training_loss"][-1] for trial in own]
    measured = rung.find("training_loss")
    assert measured is not None
    assert measured.n_seeds == len(SEEDS)
    assert measured.mean == pytest.approx(statistics.fmean(losses))
    assert measured.standard_error == pytest.approx(statistics.stdev(losses) / math.sqrt(5))
    norm = rung.find("weight_norm")
    assert norm is not None
    assert norm.mean == pytest.approx(statistics.fmean(t.user_attrs["weight_norm"] for t in own))


def test_path_value_is_what_lambda_was_chosen_by(loaded: LoadedStudy, path: LambdaPath) -> None:
    """Values come from the confirmation, so the picture cannot contradict the choice."""
    for rung, confirmed in zip(path.rungs, get_confirmation(loaded).rungs, strict=True):
        value = rung.find("value")
        assert value is not None
        assert (value.mean, value.standard_error) == (confirmed.mean, confirmed.standard_error)


def test_path_counts_a_seed_that_ran_twice_once(sqlite_url: str) -> None:
    """A rerun of a trial, or one of another learning rate, changes no mean."""
    loaded = make_confirmed_study(sqlite_url, n_trials=3, n_rungs=2)
    study = load_study(loaded.storage, "digits/confirm").study
    first = study.get_trials()[0]
    before = build_path(loaded, get_confirmation(loaded)).rungs[0]
    for params in (first.params, {**first.params, "lr": 0.7}):
        again = {**first.user_attrs, "weight_norm": 1e6}
        study.add_trial(
            create_trial(
                value=0.5, params=params, distributions=first.distributions, user_attrs=again
            )
        )
    assert build_path(loaded, get_confirmation(loaded)).rungs[0] == before


def test_path_of_a_deleted_confirming_study_has_values_only(sqlite_url: str) -> None:
    """What the searched study holds is enough for the main panel."""
    loaded = make_confirmed_study(sqlite_url, n_trials=3, n_rungs=2)
    optuna.delete_study(study_name="digits/confirm", storage=loaded.storage)
    path = build_path(loaded, get_confirmation(loaded))
    assert path.has("value")
    assert not path.has("weight_norm")


def test_path_leaves_out_what_is_not_finite(sqlite_url: str) -> None:
    """A trial whose loss became NaN does not make the mean NaN."""
    loaded = make_confirmed_study(sqlite_url, n_trials=3, n_rungs=2, last_loss=math.nan)
    path = build_path(loaded, get_confirmation(loaded))
    assert path.has("training_value")
    assert not path.has("training_loss")


def test_study_without_confirmation_says_what_to_run(sqlite_url: str) -> None:
    """The message names the command."""
    loaded = make_searched_study(sqlite_url, n_trials=3)
    assert find_confirmation(loaded) is None
    with pytest.raises(NoResultError, match=r"tuner confirm --storage .* --study digits"):
        get_confirmation(loaded)


def test_map_tells_complete_pruned_and_diverged_trials_apart(loaded: LoadedStudy) -> None:
    """Pruned trials keep the value they had reached, diverged ones have none."""
    trials = loaded.study.get_trials()
    points = {point.number: point for point in build_map(loaded).points}
    for trial in trials:
        point = points[trial.number]
        is_diverged = "diverged" in trial.user_attrs
        expected = "diverged" if is_diverged else trial.state.name.lower()
        assert point.outcome == expected
        assert (point.value is None) == is_diverged
    assert {point.outcome for point in points.values()} == {"complete", "pruned", "diverged"}


def test_map_leaves_out_trials_that_have_no_result(sqlite_url: str) -> None:
    """Failed and running trials have nothing to show."""
    loaded = make_searched_study(sqlite_url, n_trials=6)
    known = loaded.study.get_trials()[0]
    for state in (TrialState.FAIL, TrialState.WAITING):
        loaded.study.add_trial(
            create_trial(state=state, params=known.params, distributions=known.distributions)
        )
    assert len(build_map(loaded).points) == 6


def test_map_without_any_trial_says_so(sqlite_url: str) -> None:
    """A study with nothing to draw is an error in one line."""
    loaded = create_or_resume(create_storage(sqlite_url), "digits", {"dataset": "digits"})
    with pytest.raises(NoResultError, match="no finished trial with both weight_decay and lr"):
        build_map(loaded)


def test_document_has_mean_and_error_of_each_measure(path: LambdaPath) -> None:
    """Programs get the numbers of the picture, and which λ were chosen."""
    document = as_document(path)
    assert document["lambda_min"] == path.rungs[path.lambda_min].strength
    for rung in document["rungs"]:
        assert rung.keys() >= {"weight_decay", "lr", "source", "value", "training_loss"}
        assert rung["value"].keys() == {"mean", "standard_error", "n_seeds"}
