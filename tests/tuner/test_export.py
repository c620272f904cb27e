"""Every export format carries the same answer, and is read back by the tool it is for."""

import json
import runpy
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from storage import create_storage
from tests.tuner.answers import make_study, trial
from tuner.answer.document import Document, build_document
from tuner.answer.export import render, write_file
from tuner.errors import NoResultError, TunerError
from tuner.selection import find_best_trial
from tuner.study import LoadedStudy, create_or_resume


@pytest.fixture
def loaded(sqlite_url: str) -> LoadedStudy:
    """Return a study with three trials, the best being number 1."""
    return make_study(sqlite_url)


@pytest.fixture
def document(loaded: LoadedStudy) -> Document:
    """Return the study's answer."""
    return build_document(loaded)


def test_best_trial_is_never_a_pruned_one() -> None:
    """A pruned trial's value, however good, is not that of a whole training."""
    trials = [trial(0.99, 1e-3, TrialState.PRUNED, epochs=1), trial(0.9, 1e-4)]
    best = find_best_trial(trials, "maximize")
    assert best is not None
    assert best.value == 0.9


def test_best_trial_of_equals_has_fewer_epochs_then_the_lower_number() -> None:
    """Ties, which accuracies have often, do not depend on the database's order."""
    trials = [trial(0.9, 1e-3), trial(0.9, 1e-4, epochs=3), trial(0.9, 1e-5, epochs=3)]
    for number, one in enumerate(trials):
        one.number = number
    best = find_best_trial(trials[::-1], "maximize")
    assert best is not None
    assert best.number == 1


def test_best_trial_follows_the_direction() -> None:
    """A loss is minimised."""
    best = find_best_trial([trial(0.9, 1e-3), trial(0.1, 1e-4)], "minimize")
    assert best is not None
    assert best.value == 0.1


def test_document_has_the_schema_s_facts(document: Document) -> None:
    """The names other people's scripts rely on are there, with both meanings of λ."""
    assert document["schema"] == "lambda-tuner/best/1"
    assert document["study"] == "s's"
    assert document["rule"] == "best"
    assert document["weight_decay"] == 2e-4
    assert document["l2_penalty"] == 1e-4
    assert document["lr"] == 0.1
    assert document["meaning"]["decay"] == "coupled"
    assert document["meaning"]["dataset"]["n_train"] == 50_000
    assert document["evidence"]["search_value"] == 0.97
    assert document["evidence"]["test_accuracy"] == 0.965
    assert document["evidence"]["test_n_seeds"] == 1
    assert document["evidence"]["edge"] is None
    assert document["provenance"]["trial"] == 1
    assert document["provenance"]["trials_by_state"] == {"COMPLETE": 3}


@pytest.mark.parametrize(("weight_decay", "edge"), [(1.1e-5, "low"), (9e-3, "high")])
def test_choice_at_an_end_of_the_range_is_marked(
    loaded: LoadedStudy, weight_decay: float, edge: str
) -> None:
    """A λ at the edge says that the range may be too narrow."""
    loaded.study.add_trial(trial(0.99, weight_decay))
    assert build_document(loaded)["evidence"]["edge"] == edge


def test_test_accuracy_of_another_choice_is_not_exported(loaded: LoadedStudy) -> None:
    """What was measured for an earlier best trial says nothing of the new one."""
    loaded.study.add_trial(trial(0.99, 1e-4))
    assert build_document(loaded)["evidence"]["test_accuracy"] is None


def test_document_of_a_study_without_complete_trial_is_an_error(sqlite_url: str) -> None:
    """There is no answer before there is a result."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", {}, n_trials=3)
    loaded.study.add_trial(trial(0.9, 1e-4, TrialState.PRUNED))
    with pytest.raises(NoResultError, match=r"no complete trial .*: 1 PRUNED"):
        build_document(loaded)


@pytest.mark.parametrize(
    ("format_name", "read"),
    [("json", json.loads), ("yaml", yaml.safe_load)],
)
def test_format_with_null_carries_every_fact(
    document: Document, format_name: str, read: Any
) -> None:
    """JSON and YAML read back as the document itself."""
    assert read(render(document, format_name)) == document


def test_toml_carries_every_fact_that_is_known(document: Document) -> None:
    """TOML has no null: what is not known is left out, the rest is equal."""
    read = tomllib.loads(render(document, "toml"))
    assert read["weight_decay"] == document["weight_decay"]
    known = {name: each for name, each in document["meaning"].items() if each is not None}
    assert read["meaning"] == known
    assert "mean" not in read["evidence"]


def test_env_is_read_by_a_shell(document: Document, tmp_path: Path) -> None:
    """Values with quotes and spaces survive `. file`."""
    file = tmp_path / "best.env"
    file.write_text(render(document, "env"))
    shell = f'. {file}; printf "%s|" "$BEST_WEIGHT_DECAY" "$BEST_STUDY" "$BEST_MEANING_DECAY"'
    result = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert result.stdout == "0.0002|s's|coupled|"


def test_python_is_imported(document: Document, tmp_path: Path) -> None:
    """The Python form is a module with the numbers as constants."""
    file = tmp_path / "best.py"
    file.write_text(render(document, "python"))
    module = runpy.run_path(str(file))
    assert module["WEIGHT_DECAY"] == 2e-4
    assert module["BEST"] == document


def test_write_file_replaces_whole_or_not_at_all(tmp_path: Path) -> None:
    """An export is complete, readable by others, and leaves no temporary file."""
    path = tmp_path / "best.json"
    path.write_text("old")
    write_file(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o444 == 0o444
    assert list(tmp_path.iterdir()) == [path]


def test_write_file_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    """A symbolic link is somebody's arrangement: what it points to is written."""
    (tmp_path / "link.json").symlink_to(tmp_path / "best.json")
    write_file(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "best.json").read_text() == "new"


@pytest.mark.parametrize("name", ["missing/best.json", ".", "/dev/null"])
def test_write_file_where_it_cannot_says_so(tmp_path: Path, name: str) -> None:
    """A path that cannot be written is named with the reason."""
    with pytest.raises(TunerError, match="Cannot write"):
        write_file(tmp_path / name, "x")
