"""Whatever a study's numbers are, every JSON that is printed is one that every reader takes."""

import json
import math
import runpy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import tuner
from storage import create_storage
from tests.conftest import Cli
from tests.tuner.answers import confirm
from tuner.answer.best import Best
from tuner.answer.document import build_document
from tuner.answer.export import SCHEMA_FILE, render
from tuner.strict_json import find_texts, read_params, to_json, write_params
from tuner.study import LoadedStudy, create_or_resume

# Optuna warns of choices that are lists, and takes them.
pytestmark = pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")

INF = math.inf
PARAMS = {"max_norm": INF, "text": "inf", "both": [INF, "x", -INF], "none": None}


def objective(trial: Any) -> float:
    """Return an infinite value; its choices are of all kinds, and as good as they are."""
    trial.set_user_attr("worker", "host:1")  # as one of ours
    for name, value in PARAMS.items():
        trial.suggest_categorical(name, [value])
    trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    trial.suggest_float("lr", 1e-3, 1.0, log=True)
    trial.report(INF, 1)
    return INF if trial.number else -INF


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def read_strictly(text: str) -> Any:
    """Return what is read from JSON by a reader that takes neither NaN nor Infinity."""
    return json.loads(text, parse_constant=_refuse)


@pytest.fixture
def loaded(sqlite_url: str) -> LoadedStudy:
    """Return a confirmed study of infinite values and parameters."""
    options = {"objective": "tests.tuner.test_strict_json:objective"}
    loaded = create_or_resume(create_storage(sqlite_url), "s", options, n_trials=2)
    loaded.study.optimize(objective, n_trials=2)
    confirm(loaded, search_value=INF, optimism=INF, test={})
    return loaded


def test_number_that_json_cannot_hold_is_null_and_all_else_as_it_was() -> None:
    """Deep inside too; what is no plain data is its text."""
    written = to_json({"a": [INF, (math.nan, 1)], "b": {"c": -INF}, "d": Path("x")})
    assert read_strictly(written) == {"a": [None, [None, 1]], "b": {"c": None}, "d": "x"}
    assert to_json([1, "ü"], indent=None) == '[1, "\\u00fc"]'


@pytest.mark.parametrize(
    "value", [INF, -INF, "inf", "nan", [INF, "x"], {"a": -INF}, 1e300, None, True]
)
def test_parameter_is_read_back_as_it_was(value: Any) -> None:
    """A number as a number, and a text that looks like one as the text that it was."""
    written = write_params({"x": value})
    read = read_strictly(to_json(written))
    assert read_params(read, find_texts({"x": value})) == {"x": value}


def test_parameter_that_is_no_number_at_all_is_read_back() -> None:
    """NaN is equal to nothing, so it is looked at by itself."""
    written = write_params({"x": math.nan})
    assert (written, find_texts({"x": math.nan})) == ({"x": "nan"}, ("x",))
    assert math.isnan(read_params(written, ("x",))["x"])


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    "command",
    [
        ["trials", "--study", "s", "--json"],
        ["status", "--study", "s", "--json"],
        ["export", "--study", "s"],
        ["export", "--study", "s", "--rule", "min", "--json"],
        ["export", "--study", "s", "--list", "--json"],
        ["path", "--study", "s", "--format", "html", "--json"],
        ["create", "--study", "s", "--json"],
        ["storage", "check", "--json"],
        ["run", "--study", "s", "--no-confirm", "--json"],
    ],
    ids=" ".join,
)
def test_command_prints_strict_json(call: Cli, sqlite_url: str, command: list[str]) -> None:
    """`jq`, JavaScript and strict parsers read what `--json` prints."""
    result = call(*command, TUNER_STORAGE=sqlite_url)
    assert read_strictly(result.stdout) is not None, result.stderr


def test_training_that_diverges_prints_strict_json(call: Cli) -> None:
    """A loss that is no number is null."""
    small = ["--dataset", "digits", "--train-size", "200", "--epochs", "3"]
    result = call("train", *small, "--weight-decay", "0", "--lr", "1e30", "--json")
    rows = read_strictly(result.stdout)
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["loss"] is None
    assert 0 <= rows[-1]["test_accuracy"] <= 1


@pytest.mark.usefixtures("loaded")
def test_listed_trials_have_null_values_and_parameters_that_say_what_they_are(
    call: Cli, sqlite_url: str
) -> None:
    """A value that is not finite is null; a choice is not lost."""
    result = call("trials", "--study", "s", "--json", TUNER_STORAGE=sqlite_url)
    first = read_strictly(result.stdout)[0]
    assert (first["value"], first["params"]["max_norm"]) == (None, "inf")
    assert first["params"]["both"] == ["inf", "x", "-inf"]


def _load(text: str, tmp_path: Path) -> Best:
    file = tmp_path / "best.json"
    file.write_text(text)
    return tuner.load_best(file)


@pytest.mark.parametrize("rule", ["best", "min", "1se"])
def test_infinite_parameter_reaches_other_projects_as_it_was(
    loaded: LoadedStudy, tmp_path: Path, rule: Any
) -> None:
    """By every rule `load_best` gives the floats back, and the texts that only look like some."""
    document = build_document(loaded, rule)
    jsonschema.validate(document, json.loads(SCHEMA_FILE.read_text()))
    text = render(document, "json")
    assert read_strictly(text)["params"]["max_norm"] == "inf"
    params = _load(text, tmp_path).params
    assert {name: params[name] for name in PARAMS} == PARAMS


def _import(text: str, folder: Path) -> Any:
    (folder / "best.py").write_text(text)
    return runpy.run_path(str(folder / "best.py"))["BEST"]


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("yaml", lambda text, _folder: yaml.safe_load(text)),
        ("toml", lambda text, _folder: tomllib.loads(text)),
        ("python", _import),
    ],
    ids=["yaml", "toml", "python"],
)
def test_form_that_has_infinite_numbers_writes_them(
    loaded: LoadedStudy, tmp_path: Path, form: str, read: Callable[[str, Path], Any]
) -> None:
    """`.inf`, `inf` and `float("inf")`: what is read is the number, so nothing says it was text."""
    found = read(render(build_document(loaded), form), tmp_path)
    assert {name: found["params"].get(name) for name in PARAMS} == PARAMS
    assert found.get("params_as_text") is None


def test_environment_of_a_shell_names_infinite_numbers(loaded: LoadedStudy) -> None:
    """A shell has text alone."""
    assert "BEST_PARAMS_MAX_NORM=inf\n" in render(build_document(loaded), "env")
