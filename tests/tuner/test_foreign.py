"""Studies that other programs made, copied or changed: mended when opened, or refused in a line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from storage import (
    Claimant,
    change_budget,
    create_storage,
    find_budget,
    open_storage,
    parse_url,
    record_export,
    register_worker,
    upgrade_storage,
)
from storage.claims import Seen, claim_trials
from storage.exports import NewExport
from tests.conftest import Cli
from tuner.errors import ContradictionError, StudyNotFoundError
from tuner.report import list_trials, load_status
from tuner.selection import get_best_trial
from tuner.study import (
    LoadedStudy,
    create_or_resume,
    load_study,
    load_study_to_read,
    open_confirmation,
)
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

DIGITS = {"dataset": "digits", "epochs": 2, "train_size": 100}
FUNCTION = {"objective": "tests.chaos.objective:bowl"}

_NO_BUDGET = "has no budget, since another program has copied or renamed it: `tuner create --study"


def _optuna(*arguments: str) -> None:
    """Run Optuna's own command line."""
    command = [str(Path(sys.executable).with_name("optuna")), *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=500)


def _execute(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(parse_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def _directions(loaded: LoadedStudy) -> list[str]:
    study_id = loaded.study_id
    return [d.name for d in loaded.storage.get_study_directions(study_id)]


def _train(url: str, n_trials: int, name: str = "s") -> LoadedStudy:
    """Return a study of digits that a worker has trained to the end of its budget."""
    loaded = create_or_resume(create_storage(url), name, DIGITS, n_trials=n_trials)
    run_worker(WorkerConfig(url, name), Leaving())
    return loaded


@pytest.mark.db
@pytest.mark.heavy
def test_study_of_optunas_own_command_is_maximised_once_it_is_ours(storage_url: str) -> None:
    """`optuna create-study` minimises unless told: the direction becomes the spec's."""
    plain = parse_url(storage_url).render_as_string(hide_password=False)
    _optuna("create-study", "--study-name", "digits", "--storage", plain)
    loaded = create_or_resume(create_storage(storage_url), "digits", DIGITS)
    assert _directions(loaded) == ["MAXIMIZE"]
    assert loaded.study.direction.name == "MAXIMIZE"
    again = load_study(open_storage(storage_url), "digits")
    assert again.study.direction.name == "MAXIMIZE"


def test_study_of_several_objectives_is_refused_and_nothing_is_left(
    call: Cli, sqlite_url: str
) -> None:
    """One line that says what to do; the study is the other program's as before."""
    directions = ("--directions", "minimize", "maximize")
    _optuna("create-study", "--study-name", "two", "--storage", sqlite_url, *directions)
    refused = call("create", "--study", "two", "--dataset", "digits", "--storage", sqlite_url)
    assert refused.returncode == 2
    assert refused.stderr == (
        "tuner: Study 'two' is there already, made by another program, with 2 objectives "
        "(minimize, maximize): choose another --study\n"
    )
    storage = open_storage(sqlite_url)
    assert find_budget(storage.engine, storage.get_study_id_from_name("two")) is None
    assert storage.get_study_user_attrs(1) == {}
    assert storage.get_study_system_attrs(1) == {}


def test_empty_study_of_another_program_is_named_to_those_who_only_look(
    call: Cli, sqlite_url: str
) -> None:
    """Status and worker say which command makes it a study of ours."""
    create_storage(sqlite_url)
    _optuna("create-study", "--study-name", "digits", "--storage", sqlite_url)
    for command in ("status", "worker"):
        refused = call(command, "--study", "digits", "--storage", sqlite_url)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "made by another program, and is empty: `tuner create --study" in refused.stderr


def test_database_of_optuna_alone_is_said_to_lack_our_tables(call: Cli, sqlite_url: str) -> None:
    """It is not said to hold no study."""
    _optuna("create-study", "--study-name", "digits", "--storage", sqlite_url)
    refused = call("status", "--study", "digits", "--storage", sqlite_url)
    assert (
        "made by another program, and has none of our tables: `tuner storage up" in refused.stderr
    )
    assert call("storage", "upgrade", "--storage", sqlite_url).returncode == 0


def test_direction_that_was_changed_by_sql_is_refused_and_mended_by_create(
    sqlite_url: str,
) -> None:
    """No sampler ever searches in the other direction than the answer is chosen by."""
    create_or_resume(create_storage(sqlite_url), "s", DIGITS)
    _execute(sqlite_url, "UPDATE study_directions SET direction = 'MINIMIZE'")
    with pytest.raises(StudyNotFoundError, match="to minimize, not to maximize as its spec says"):
        load_study(open_storage(sqlite_url), "s")
    loaded = create_or_resume(create_storage(sqlite_url), "s", {})
    assert _directions(loaded) == ["MAXIMIZE"]
    assert load_study(open_storage(sqlite_url), "s").study.direction.name == "MAXIMIZE"


def test_spec_of_another_program_is_no_traceback(sqlite_url: str) -> None:
    """Others may call an attribute of their study `spec`, too."""
    study = optuna.create_study(storage=create_storage(sqlite_url), study_name="s")
    for theirs, where in (("v1", "all of it"), ({"colour": 1}, "colour")):
        study.set_user_attr("spec", theirs)
        with pytest.raises(StudyNotFoundError, match=rf"does not know \({where}\)"):
            load_study(open_storage(sqlite_url), "s")


@pytest.mark.db
@pytest.mark.heavy
def test_copied_study_gets_its_budget_and_goes_on(storage_url: str, tmp_path: Path) -> None:
    """Trials keep their numbers and their worth; the budget counts what is finished."""
    source = f"sqlite:///{tmp_path / 'source.db'}"
    _train(source, 4)
    upgrade_storage(storage_url)
    plain = parse_url(storage_url).render_as_string(hide_password=False)
    optuna.copy_study(
        from_study_name="s", from_storage=source, to_storage=plain, to_study_name="copy"
    )
    with pytest.raises(StudyNotFoundError, match=f"{_NO_BUDGET} copy` gives it one"):
        load_study(open_storage(storage_url), "copy")
    to_read = load_study_to_read(storage_url, "copy")
    best = get_best_trial(to_read)
    assert best.params == get_best_trial(load_study(open_storage(source), "s")).params

    copied = create_or_resume(create_storage(storage_url), "copy", {}, n_trials=6)
    budget = copied.load_budget()
    assert (budget.n_trials, budget.n_finished, budget.n_leased) == (6, 4, 0)
    run_worker(WorkerConfig(storage_url, "copy"), Leaving())
    status = load_status(copied)
    assert (status.n_finished, sum(status.states.values())) == (6, 6)
    assert create_or_resume(copied.storage, "copy", {}).load_budget().n_trials == 6


def test_budget_of_a_copy_is_the_default_or_what_is_finished(sqlite_url: str) -> None:
    """Whoever names no budget gets one that is no less than was done."""
    _train(sqlite_url, 3)
    optuna.copy_study(
        from_study_name="s", from_storage=sqlite_url, to_storage=sqlite_url, to_study_name="t"
    )
    copied = create_or_resume(create_storage(sqlite_url), "t", {})
    assert copied.load_budget().n_trials == 50
    assert copied.load_budget().n_finished == 3


def test_export_of_a_copy_says_why_it_is_not_recorded(call: Cli, sqlite_url: str) -> None:
    """The answer is printed all the same, and the line is true."""
    _train(sqlite_url, 1)
    optuna.copy_study(
        from_study_name="s", from_storage=sqlite_url, to_storage=sqlite_url, to_study_name="t"
    )
    exported = call("export", "--study", "t", "--storage", sqlite_url)
    assert exported.returncode == 0
    assert json.loads(exported.stdout)["study"] == "t"
    assert f"not recorded in the database: Study 't' {_NO_BUDGET} t` gives it" in exported.stderr


def test_trial_that_was_copied_in_training_is_run_again(sqlite_url: str) -> None:
    """Nobody trains the copy: it is given back, and its parameters wait."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", FUNCTION, n_trials=3)
    worker_id, _ = register_worker(loaded.storage.engine, loaded.study_id, "host", 1)
    claimant = Claimant(loaded.study_id, worker_id, 60)
    claim_trials(loaded.storage.engine, claimant, 1, Seen())
    running = optuna.trial.Trial(loaded.study, loaded.study.get_trials()[0]._trial_id)
    x = running.suggest_float("x", 0, 1)
    optuna.copy_study(
        from_study_name="s", from_storage=sqlite_url, to_storage=sqlite_url, to_study_name="t"
    )
    copied = create_or_resume(loaded.storage, "t", {}, n_trials=3)
    first, again = copied.study.get_trials()
    assert (first.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    assert first.user_attrs["given_back"] == "it was in training when the study was copied"
    assert again.system_attrs["fixed_params"] == {"x": x}
    assert (copied.load_budget().n_finished, copied.load_budget().n_leased) == (0, 0)
    # That of the study itself is left alone.
    assert loaded.study.get_trials()[0].state is TrialState.RUNNING


def test_trial_whose_lease_was_deleted_is_given_back_by_create(sqlite_url: str) -> None:
    """Plain SQL took its lease: its slot opens again, and the budget is exact."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", FUNCTION, n_trials=3)
    engine = loaded.storage.engine
    worker_id, _ = register_worker(engine, loaded.study_id, "host", 1)
    claim_trials(engine, Claimant(loaded.study_id, worker_id, 60), 1, Seen())
    trial_id = loaded.study.get_trials()[0]._trial_id
    loaded.storage.set_trial_system_attr(trial_id, "tuner:origin", loaded.origin)
    create_or_resume(loaded.storage, "s", {})
    assert loaded.study.get_trials()[0].state is TrialState.RUNNING
    _execute(sqlite_url, "DELETE FROM tuner_leases")
    create_or_resume(loaded.storage, "s", {})
    assert [trial.state for trial in loaded.study.get_trials()] == [TrialState.FAIL]
    assert loaded.load_budget().n_finished == 0


def test_exports_and_pin_outlive_a_budget_that_sql_has_deleted(sqlite_url: str) -> None:
    """Without foreign keys, as SQLite's own shell deletes: only what is gone is made anew."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", DIGITS, n_trials=7)
    answer = NewExport("best", 1e-3, 0.1, 0.9, None, None, 0, 0, "mine", "a@b", "{}")
    record_export(loaded.storage.engine, loaded.study_id, answer, after=0)
    _execute(sqlite_url, "DELETE FROM tuner_budgets")
    resumed = create_or_resume(loaded.storage, "s", {}, n_trials=7)
    assert resumed.load_budget().n_trials == 7
    again = record_export(loaded.storage.engine, loaded.study_id, answer, after=1)
    assert again is not None
    assert again.version == 2


def test_copied_confirmation_confirms_the_study_that_its_name_says(sqlite_url: str) -> None:
    """What was trained on fresh seeds is not trained again for a copy under another name."""
    searched = create_or_resume(create_storage(sqlite_url), "s", DIGITS, n_trials=1)
    open_confirmation(searched)
    for name in ("s", "s/confirm"):
        optuna.copy_study(
            from_study_name=name,
            from_storage=sqlite_url,
            to_storage=sqlite_url,
            to_study_name=name.replace("s", "t", 1),
        )
    copied = create_or_resume(searched.storage, "t", {})
    confirming = open_confirmation(copied)
    assert confirming.spec.confirms == "t"
    assert load_study(open_storage(sqlite_url), "t/confirm").spec == confirming.spec


def _import(loaded: LoadedStudy, value: float = 0.999, **changes: Any) -> None:
    params = {"weight_decay": 1e-4, "lr": 0.1}
    given: dict[str, Any] = {
        "params": params,
        "distributions": {
            "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
            "lr": FloatDistribution(1e-3, 1.0, log=True),
        },
        **changes,
    }
    loaded.study.add_trial(create_trial(value=value, **given))


def _shown_best(url: str, name: str) -> int:
    engine = sqlalchemy.create_engine(parse_url(url))
    with engine.connect() as connection:
        query = sqlalchemy.text("SELECT trial FROM tuner_best WHERE study = :name")
        number = connection.execute(query, {"name": name}).scalar_one()
    engine.dispose()
    return int(number)


@pytest.mark.db
def test_imported_trials_are_never_the_answer(storage_url: str) -> None:
    """Neither those that another program makes, nor those of another study of ours."""
    loaded = _train(storage_url, 2)
    own = get_best_trial(loaded).number
    other = _train(storage_url, 1, "other")
    _import(loaded)
    theirs = other.study.get_trials()[0]
    theirs.value = 0.9999
    loaded.study.add_trial(theirs)
    assert get_best_trial(loaded).number == own
    status = load_status(loaded)
    assert status.best is not None
    assert (status.best["trial"], status.n_finished, status.n_trials) == (own, 2, 2)
    assert status.states["COMPLETE"] >= 3
    assert _shown_best(storage_url, "s") == own
    assert [row["note"] for row in list_trials(loaded)] == [None, None, "imported", "imported"]


def test_pin_of_an_imported_trial_is_refused(call: Cli, sqlite_url: str) -> None:
    """Only what was trained in the study can be its answer."""
    loaded = _train(sqlite_url, 1)
    _import(loaded)
    refused = call("export", "--study", "s", "--pin", "1", "--storage", sqlite_url)
    assert refused.returncode == 2
    assert "another program has put trial 1 into study 's'" in refused.stderr


_ODD: dict[str, dict[str, Any]] = {
    "a choice": {
        "distributions": {
            "weight_decay": CategoricalDistribution([0, 1e-4, 1e-3]),
            "lr": FloatDistribution(1e-3, 1.0, log=True),
        }
    },
    "zero": {
        "params": {"weight_decay": 0.0, "lr": 0.1},
        "distributions": {
            "weight_decay": FloatDistribution(0, 1),
            "lr": FloatDistribution(1e-3, 1.0, log=True),
        },
    },
    "a word": {
        "params": {"weight_decay": "none", "lr": 0.1},
        "distributions": {
            "weight_decay": CategoricalDistribution(["none", "some"]),
            "lr": FloatDistribution(1e-3, 1.0, log=True),
        },
    },
}


@pytest.mark.parametrize(
    ("sampler", "odd"),
    [
        ("tpe", "a choice"),
        ("tpe", "zero"),
        ("tpe", "a word"),
        ("gp", "zero"),
        ("cmaes", "a choice"),
        ("qmc", "zero"),
    ],
)
def test_study_with_odd_imported_trials_is_trained_to_its_end(
    sampler: str, odd: str, sqlite_url: str
) -> None:
    """Parameters of another kind or range end no worker, and each sampler copes with them."""
    options = {**DIGITS, "sampler": sampler}
    loaded = create_or_resume(create_storage(sqlite_url), "s", options, n_trials=3)
    for _ in range(12):  # more than samplers wait for
        _import(loaded, 0.5, **_ODD[odd])
    run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    status = load_status(loaded)
    assert (status.n_finished, status.states.get("FAIL", 0)) == (3, 0)
    assert all(1e-5 <= t.params["weight_decay"] <= 1e-2 for t in loaded.own_trials())


def test_function_with_odd_imported_trials_is_trained_to_its_end(sqlite_url: str) -> None:
    """What a function searches is known from its first trial on."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", FUNCTION, n_trials=14)
    for x in ("a", 1):
        odd = {"x": CategoricalDistribution(["a", 1])}
        _import(loaded, 0.5, params={"x": x}, distributions=odd)
    run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    assert load_status(loaded).n_finished == 14
    assert load_status(loaded).states.get("FAIL", 0) == 0


def test_creation_that_fails_leaves_a_study_that_the_next_takes_over(sqlite_url: str) -> None:
    """There is no budget without a spec; the same command makes both."""
    storage = create_storage(sqlite_url)
    _execute(
        sqlite_url,
        "CREATE TRIGGER full BEFORE INSERT ON study_user_attributes"
        " BEGIN SELECT RAISE(FAIL, 'full'); END",
    )
    with pytest.raises(sqlalchemy.exc.DatabaseError, match="full"):
        create_or_resume(storage, "s", DIGITS)
    assert find_budget(storage.engine, storage.get_study_id_from_name("s")) is None
    _execute(sqlite_url, "DROP TRIGGER full")
    assert create_or_resume(storage, "s", DIGITS, n_trials=4).load_budget().n_trials == 4


def test_study_with_trials_of_another_program_is_refused(sqlite_url: str) -> None:
    """What is not empty is not ours to change."""
    storage = create_storage(sqlite_url)
    study = optuna.create_study(storage=storage, study_name="two", directions=["minimize"] * 2)
    with pytest.raises(ContradictionError, match="with 2 objectives"):
        create_or_resume(storage, "two", DIGITS)
    study.add_trial(create_trial(values=[1.0, 2.0]))
    with pytest.raises(StudyNotFoundError, match="made by another program"):
        create_or_resume(storage, "two", DIGITS)
    change_budget(storage.engine, 1, n_trials=1, timeout_seconds=None)  # of none: no error


@pytest.mark.db
def test_check_finds_what_other_programs_have_done(call: Cli, storage_url: str) -> None:
    """A line for each: direction, budget, numbers, leases and odd parameters; with the remedy."""
    loaded = create_or_resume(create_storage(storage_url), "s", DIGITS, n_trials=9)
    odd = {**_ODD["a choice"], "state": TrialState.PRUNED}
    running = {"params": {}, "distributions": {}, "state": TrialState.RUNNING}
    for changes in (odd, odd, odd, running):
        _import(loaded, **changes)
    trials = loaded.study.get_trials()
    loaded.storage.create_new_trial(loaded.study_id)
    assert call("storage", "check", TUNER_STORAGE=storage_url).stderr.count("\n") == 1

    loaded.storage.set_trial_system_attr(trials[3]._trial_id, "tuner:origin", loaded.origin)
    plain = parse_url(storage_url).render_as_string(hide_password=False)
    empty = create_or_resume(loaded.storage, "empty", DIGITS)
    optuna.copy_study(
        from_study_name="empty", from_storage=plain, to_storage=plain, to_study_name="copy"
    )
    tables = ("trial_params", "trial_values", "trials")
    _execute(
        storage_url,
        *(f"DELETE FROM {table} WHERE trial_id = {trials[1]._trial_id}" for table in tables),
        f"UPDATE study_directions SET direction = 'MINIMIZE' WHERE study_id = {empty.study_id}",
        f"UPDATE tuner_budgets SET n_claimed = 1 WHERE study_id = {loaded.study_id}",
    )
    check = call("storage", "check", TUNER_STORAGE=storage_url)
    assert check.returncode == 1
    slots, budget, direction, gone, unheld, choice = check.stderr.splitlines()
    assert "Study 's': its budget has 1 slots taken, but 0" in slots
    assert "Study 'copy' has no budget" in budget
    assert "'empty' is stored to minimize, its spec says maximize: `tuner create" in direction
    assert "Study 's': trial 1 is gone" in gone
    assert "Study 's': trial 3 is RUNNING, but nobody trains it" in unheld
    assert "Study 's': trial 0 has 'weight_decay' as CategoricalDistribution" in choice

    for name in ("copy", "empty", "s"):
        create_or_resume(loaded.storage, name, {})
    left = call("storage", "check", TUNER_STORAGE=storage_url).stderr.splitlines()
    assert [line.partition("'s': trial ")[2][:5] for line in left] == ["1 is ", "0 has"]


_SPEC = "study_user_attributes SET value_json ="
_OF_TRIAL = "trial_id = (SELECT trial_id FROM trials WHERE number = 0)"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (f"UPDATE {_SPEC} '{{x' WHERE value_json LIKE '%dataset%'", "'spec' that is no JSON: mend"),
        (f"UPDATE {_SPEC} '7' WHERE value_json LIKE '%dataset%'", "has lost its spec: another"),
        ("DELETE FROM study_user_attributes", "has lost its spec: another"),
        ("UPDATE trial_user_attributes SET value_json = '{x'", "trial 0 has an attribute 'worker'"),
        (f"DELETE FROM trial_values WHERE {_OF_TRIAL}", "trial 0 is COMPLETE without a value: put"),
        ("UPDATE trials SET number = NULL WHERE number = 0", "has lost its number: give it one"),
        ("UPDATE trials SET state = 'ODD'", "trial 0 has the state 'ODD', which Optuna does not"),
        ("UPDATE trials SET datetime_start = 'then'", "trial 0 has 'then' as datetime_start"),
        ("UPDATE trial_values SET value = 'x'", "trial 0 has 'x' in trial_values, which is no"),
        (
            'UPDATE trial_params SET distribution_json = \'{"name": "Odd", "attributes": {}}\'',
            "of a kind that this Optuna does not know",
        ),
    ],
)
def test_what_nobody_can_read_is_found_and_is_one_line_of_whoever_meets_it(
    call: Cli, sqlite_url: str, change: str, words: str
) -> None:
    """Whatever plain SQL has left; without a traceback."""
    _train(sqlite_url, 1)
    _execute(sqlite_url, change)
    check = call("storage", "check", TUNER_STORAGE=sqlite_url)
    assert check.returncode == 1
    assert words in check.stderr
    assert "Traceback" not in check.stderr
    status = call("status", "--study", "s", TUNER_STORAGE=sqlite_url)
    assert status.stderr.count("\n") <= 1, status.stderr  # none where a lone trial has no number


def test_check_finds_rows_that_a_deleted_study_has_left(call: Cli, sqlite_url: str) -> None:
    """Optuna deletes without foreign keys on SQLite: the next study of that id would have them."""
    _train(sqlite_url, 1)
    _optuna("delete-study", "--study-name", "s", "--storage", sqlite_url)
    said = call("storage", "check", TUNER_STORAGE=sqlite_url).stderr
    orphans = [line.partition(":")[2] for line in said.splitlines()]
    assert [line.split(" belong")[0] for line in orphans] == [
        " 1 rows of tuner_workers",
        " 1 rows of tuner_budgets",
    ]
    for line in orphans:
        _execute(sqlite_url, line.split("`")[1])
    assert call("storage", "check", TUNER_STORAGE=sqlite_url).returncode == 0
