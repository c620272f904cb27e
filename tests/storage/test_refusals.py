"""A write that fails for good costs its own trial only: case 06."""

import contextlib
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from sqlalchemy import Engine, text

from storage import ERROR, WorkerStorage, find_leases_of, give_back
from storage import optuna_tables as tables
from storage.outbox import Outbox
from tests.storage.studies import WorkedStudy, lost_commits

pytestmark = pytest.mark.db

_LONG_KEY = "metric/" + "very_long_layer_name." * 30


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a new study with a budget of 24 trials."""
    return WorkedStudy(shared_url, n_trials=24)


@pytest.fixture
def outbox(study: WorkedStudy) -> Outbox:
    """Return the outbox of the study's worker."""
    return Outbox(study.claimant.worker_id)


def _poison(engine: Engine, outbox: Outbox, trial_id: int) -> str:
    """Put in a row that no check has seen and the database does not take; return its name."""
    if engine.dialect.name == "sqlite":
        step = 2**70
        row = tables.intermediate_value_row(step, 0.5)
        outbox.write(trial_id, tables.intermediate_values, step, row)
        return str(step)
    row = tables.attr_row(_LONG_KEY, 1)
    outbox.write(trial_id, tables.user_attrs, _LONG_KEY, row)
    return "very_long_layer_name"


def _report(outbox: Outbox, trial_id: int) -> None:
    outbox.write(trial_id, tables.intermediate_values, 1, tables.intermediate_value_row(1, 0.5))


def _end(outbox: Outbox, trial_id: int) -> None:
    outbox.end(trial_id, TrialState.COMPLETE, [0.5], tables.utc_now())


def test_poisoned_rows_cost_their_own_trials_only(study: WorkedStudy, outbox: Outbox) -> None:
    """Of 24 trials in a burst, 12 innocents are kept; the others are FAIL and say why."""
    trial_ids = study.claim_into(outbox, 24)
    written: list[tuple[int, TrialState]] = []
    refused: dict[int, str] = {}
    outbox.on_written = lambda trial_id, state: written.append((trial_id, state))
    outbox.on_refused = lambda trial_id, reason: refused.update({trial_id: reason})
    for trial_id in trial_ids:
        _report(outbox, trial_id)
        _end(outbox, trial_id)
    for trial_id in trial_ids[::2]:
        name = _poison(study.engine, outbox, trial_id)
    outbox.flush(study.engine)
    assert study.states() == [TrialState.FAIL, TrialState.COMPLETE] * 12
    for trial in study.trials()[::2]:
        assert trial.user_attrs == {ERROR: refused[trial._trial_id]}
        assert name in trial.user_attrs[ERROR]
        assert (trial.values, trial.intermediate_values) == (None, {1: 0.5})
    assert sorted(written) == [(i, TrialState.COMPLETE) for i in trial_ids[1::2]]
    assert outbox.pop_lost() == set(trial_ids[::2])
    assert outbox.held == {}
    assert (study.budget().n_finished, study.budget().n_leased) == (24, 0)


def test_trial_in_training_whose_rows_are_refused_ends_at_once(
    study: WorkedStudy, outbox: Outbox
) -> None:
    """Its next write is told why; its neighbour trains on."""
    bad, good = study.claim_into(outbox, 2)
    _poison(study.engine, outbox, bad)
    _report(outbox, good)
    outbox.flush(study.engine)
    with pytest.raises(UpdateFinishedTrialError, match="the database does not take"):
        _report(outbox, bad)
    _end(outbox, good)
    outbox.flush(study.engine)
    assert study.states() == [TrialState.FAIL, TrialState.COMPLETE]


def test_refused_trial_that_was_given_back_meanwhile_is_lost(
    study: WorkedStudy, outbox: Outbox
) -> None:
    """Its slot was opened for another worker: the FAIL is not written over that."""
    (trial_id,) = study.claim_into(outbox)
    (lease,) = find_leases_of(study.engine, study.claimant.worker_id)
    give_back(study.engine, lease, "its worker was lost")
    _poison(study.engine, outbox, trial_id)
    refused: list[Any] = []
    outbox.on_refused = lambda *refusal: refused.append(refusal)
    outbox.flush(study.engine)
    assert (refused, outbox.pop_lost()) == ([], {trial_id})
    assert ERROR not in study.trials()[0].user_attrs
    assert study.budget().n_finished == 0


def test_outage_among_refusals_loses_nothing(study: WorkedStudy, outbox: Outbox) -> None:
    """What could not be written, nor refused, stays pending."""
    bad, good = study.claim_into(outbox, 2)
    _poison(study.engine, outbox, bad)
    _end(outbox, good)
    with lost_commits(study.engine, is_committed=False), pytest.raises(Exception, match="lost"):
        outbox.flush(study.engine)
    assert study.states() == [TrialState.RUNNING] * 2
    outbox.flush(study.engine)
    assert study.states() == [TrialState.FAIL, TrialState.COMPLETE]


def test_table_that_is_gone_is_no_trials_fault(study: WorkedStudy, outbox: Outbox) -> None:
    """Nothing is failed for it: the writer ends, as for any error that will not pass."""
    (trial_id,) = study.claim_into(outbox)
    _report(outbox, trial_id)
    name = tables.intermediate_values.name
    with study.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {name} RENAME TO gone"))
    try:
        with pytest.raises(Exception, match=name):
            outbox.flush(study.engine)
    finally:
        with study.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE gone RENAME TO {name}"))
    outbox.flush(study.engine)
    assert study.trials()[0].intermediate_values == {1: 0.5}


def _set_curve(trial: optuna.Trial) -> None:
    trial.set_user_attr("curve", [trial.number / (i + 1) for i in range(5000)])


def _set_long_key(trial: optuna.Trial) -> None:
    trial.set_user_attr(_LONG_KEY, 1)


def _report_far(trial: optuna.Trial) -> None:
    trial.report(0.5, 3_000_000_000)


def _report_too_far(trial: optuna.Trial) -> None:
    trial.report(0.5, 2**70)


def _set_nul(trial: optuna.Trial) -> None:
    trial.set_user_attr("a\0b", 1)


def _set_surrogate(trial: optuna.Trial) -> None:
    trial.set_user_attr("a\ud800", 1)


def _suggest_surrogate(trial: optuna.Trial) -> None:
    trial.suggest_float("x\udc80", 0, 1)


def _suggest_infinity(trial: optuna.Trial) -> None:
    trial.storage.set_trial_system_attr(trial._trial_id, "fixed_params", {"x": float("inf")})
    again = optuna.Trial(trial.study, trial._trial_id)
    again.suggest_float("x", 0, 1)


_TAKERS = {
    _set_curve: {"sqlite", "postgresql"},
    _set_long_key: {"sqlite"},
    _report_far: {"sqlite"},
    _report_too_far: set(),
    _set_nul: {"sqlite", "mysql"},
    _set_surrogate: set(),
    _suggest_surrogate: set(),
    _suggest_infinity: {"sqlite", "postgresql"},
}


@pytest.mark.parametrize("act", _TAKERS, ids=lambda act: act.__name__[1:])
@pytest.mark.filterwarnings("ignore:Fixed parameter")
def test_what_the_database_does_not_take_fails_its_trial_only(
    study: WorkedStudy, act: Callable[[optuna.Trial], None]
) -> None:
    """In the objective, where it can be known; else when it is written. Neighbours go on."""
    ended: dict[int, Any] = {}
    with study.open() as storage:
        storage.on_written(lambda number, state: ended.update({number: state}))
        storage.on_refused(lambda number, reason: ended.update({number: reason}))
        storage.claim(3)
        worked = _load(storage, study)
        trials = [worked.ask() for _ in range(3)]
        _train(worked, trials[1], act)
        for trial in (trials[0], trials[2]):
            worked.tell(trial, 0.5)
    takes = study.engine.dialect.name in _TAKERS[act]
    end = TrialState.COMPLETE if takes else TrialState.FAIL
    assert study.states() == [TrialState.COMPLETE, end, TrialState.COMPLETE]
    assert set(ended) == {0, 1, 2}
    assert takes == (ERROR not in study.trials()[1].user_attrs)
    assert (study.budget().n_finished, study.budget().n_leased) == (3, 0)


_CURVE = {"curve": [number / 7 for number in range(5000)]}
_TEMPLATES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a long attribute": ({"user_attrs": _CURVE}, {"sqlite", "postgresql"}),
    "a long name": ({"user_attrs": {_LONG_KEY: 1}}, {"sqlite"}),
    "a far step": ({"intermediate_values": {3_000_000_000: 0.5}}, {"sqlite"}),
    "queued parameters": ({"system_attrs": {"fixed_params": _CURVE}}, {"sqlite", "postgresql"}),
}


@pytest.mark.parametrize(("given", "takers"), _TEMPLATES.values(), ids=_TEMPLATES)
def test_trial_that_an_objective_adds_is_refused_as_its_own_would_be(
    study: WorkedStudy, given: dict[str, Any], takers: set[str]
) -> None:
    """By a ValueError in the objective, before anything of it is stored."""
    added = optuna.trial.create_trial(value=0.5, **given)
    takes = study.engine.dialect.name in takers
    with study.open() as storage:
        refused = contextlib.nullcontext() if takes else pytest.raises(ValueError, match="takes")
        with refused:
            _load(storage, study).add_trial(added)
    assert len(study.trials()) == takes


def _train(study: optuna.Study, trial: optuna.Trial, act: Callable[[optuna.Trial], None]) -> None:
    """Do what a worker does with an objective that acts so."""
    try:
        act(trial)
    except ValueError as error:
        trial.set_user_attr(ERROR, str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, 0.5)


def _load(storage: WorkerStorage, study: WorkedStudy) -> optuna.Study:
    return optuna.load_study(storage=storage, study_name=study.name, sampler=RandomSampler(seed=0))


def test_refused_trial_is_shown_as_it_is_stored(study: WorkedStudy) -> None:
    """Its owner learns by Optuna's own error; nobody is told that it was taken away."""
    n_lost: list[None] = []
    with study.open() as storage:
        storage.on_lost(lambda: n_lost.append(None))
        storage.claim(2)
        worked = _load(storage, study)
        bad, told = worked.ask(), worked.ask()
        worked.tell(told, 0.5)
        for trial in (bad, told):
            _poison(study.engine, storage._outbox, trial._trial_id)
        storage.flush()
        storage.refresh()
        with pytest.raises(UpdateFinishedTrialError, match="the database does not take"):
            bad.report(0.5, 1)
        shown = storage.get_all_trials(study.study_id)
    assert [trial.state for trial in shown] == study.states() == [TrialState.FAIL] * 2
    assert n_lost == []


_REFUSE_END = """CREATE TRIGGER refuse_end BEFORE UPDATE ON trials WHEN NEW.number = 1
AND NEW.state = 'COMPLETE' BEGIN SELECT RAISE(ABORT, 'no such end'); END"""
_REFUSE_ERROR = """CREATE TRIGGER refuse_error BEFORE INSERT ON trial_user_attributes
WHEN NEW.key = 'error' BEGIN SELECT RAISE(ABORT, 'no errors here'); END"""


def _end_three(study: WorkedStudy, *triggers: str) -> Outbox:
    """Put in the ends of three trials; the database refuses something."""
    with study.engine.begin() as connection:
        for trigger in triggers:
            connection.execute(text(trigger))
    outbox = Outbox(study.claimant.worker_id)
    for trial_id in study.claim_into(outbox, 3):
        _end(outbox, trial_id)
    return outbox


def test_end_that_is_refused_without_a_bad_row_says_what_the_database_said(sqlite_url: str) -> None:
    """Whatever the reason is, it costs one trial."""
    study = WorkedStudy(sqlite_url)
    _end_three(study, _REFUSE_END).flush(study.engine)
    assert study.states() == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    expected = "the database does not take its end: no such end"
    assert study.trials()[1].user_attrs == {ERROR: expected}


def test_trial_that_cannot_even_fail_stays_pending_and_others_are_written(sqlite_url: str) -> None:
    """The error is raised, as it always was; the results of the same burst are kept."""
    study = WorkedStudy(sqlite_url)
    outbox = _end_three(study, _REFUSE_END, _REFUSE_ERROR)
    with pytest.raises(Exception, match="no errors here"):
        outbox.flush(study.engine)
    assert study.states() == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.COMPLETE]
    assert len(outbox.held) == 1
