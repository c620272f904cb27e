"""Study files: examples that run, the schema that editors check them by, and typos."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from tests.conftest import ROOT, Cli
from tuner.cli import app
from tuner.commands.study_file import SCHEMA_FILE, schema_text

FILES = sorted((ROOT / "examples").glob("*.toml"))
SCHEMA = json.loads(SCHEMA_FILE.read_text())
# The others are run where there is time.
_ALWAYS = ("elastic_net", "cnn_fashion_mnist")
_CASES = [
    pytest.param(path, marks=[] if path.stem in _ALWAYS else [pytest.mark.long], id=path.stem)
    for path in FILES
]
_IMAGES = ("weight_decay_mnist", "elastic_net", "cnn_fashion_mnist")


@pytest.mark.parametrize("path", _CASES)
def test_example_is_searched_and_confirmed(path: Path, tmp_path: Path, fork: Cli) -> None:
    """As it stands, but shorter, and on digits in place of larger images: flags beat the file."""
    dataset = dict.fromkeys(_IMAGES, ("--dataset", "digits", "--train-size", "100"))
    sizes = ("--trials", "3", "--epochs", "2", "--seeds", "2", "--pruner", "none")
    run = fork("run", "--config", str(path), *sizes, *dataset.get(path.stem, ()), "--json")
    assert run.returncode == 0, run.stderr
    answer = json.loads((tmp_path / "best_lambda.json").read_text())
    given = tomllib.loads(path.read_text())
    assert answer["study"] == given["study"]
    assert answer["evidence"]["strength"] == given.get("strength", "weight_decay")
    assert given.get("search", {}).keys() <= answer["params"].keys()
    assert answer["meaning"]["epochs"] == 2
    assert answer["evidence"]["n_seeds"] == 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_example_is_what_the_schema_says(path: Path) -> None:
    """And names it, so that an editor finds it."""
    text = path.read_text()
    jsonschema.validate(tomllib.loads(text), SCHEMA)
    first = text.splitlines()[0]
    assert (path.parent / first.removeprefix("#:schema ")).resolve() == SCHEMA_FILE


def test_published_schema_is_that_of_the_options(call: Cli) -> None:
    """The kept file is what the command line takes, and `tuner check --schema` prints it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    command = (
        "python -c 'import typer; from tuner.cli import app; "
        "from tuner.commands.study_file import schema_text; "
        'print(schema_text(typer.main.get_command(app)), end="")\' '
        "> tuner/commands/study.schema.json"
    )
    assert schema_text(typer.main.get_command(app)) == SCHEMA_FILE.read_text(), f"run: {command}"
    assert call("check", "--schema").stdout == SCHEMA_FILE.read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        {"trails": 7},
        {"trials": "many"},
        {"trials": 0},
        {"optimizer": "sdg"},
        {"lr": [0.1]},
        {"search": ["dropout"]},
        {"proximal": "yes"},
        {"objective-options": {"width": [1, 2]}},
    ],
    ids=str,
)
def test_schema_finds_what_is_wrong(wrong: dict[str, Any]) -> None:
    """Before anything is run."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_tables_are_what_repeated_options_are(call: Cli, tmp_path: Path) -> None:
    """A range, choices, a value; a flag replaces the whole of it, and so does the environment."""
    (tmp_path / "study.toml").write_text(
        'study = "t"\ndataset = "digits"\n[search]\ndropout = "0.0..0.5"\nwidth = [32, 64]\n'
        "[fix]\nmomentum = 0.9\ndepth = 2\n"
    )
    created = json.loads(call("create", "--config", "study.toml", "--json").stdout)
    assert created["spec"]["search"].keys() == {"dropout", "width"}
    assert created["spec"]["search"]["width"]["attributes"] == {"choices": [32, 64]}
    assert created["spec"]["fixed"] == {"momentum": 0.9, "depth": 2}
    other = call(
        *("create", "--config", "study.toml", "--study", "u", "--fix", "depth=3", "--json"),
        TUNER_SEARCH="width=8..64",
    )
    spec = json.loads(other.stdout)["spec"]
    assert (list(spec["search"]), spec["fixed"]) == (["width"], {"depth": 3})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trails = 7", "no option 'trails': did you mean 'trials'?"),
        ("optimiser = 'sgd'", "did you mean 'optimizer'?"),
        ("[lr]\nlow = 1", "not a table [lr]"),
        ("[search]\ndropuot = '0.0..0.5'", "did you mean 'dropout'?"),
        ("[objective_options]\nwidth = [1]", "[objective_options] width: a number, a text, true"),
        ("[search]\ndropout = 0.5", "--search 'dropout=0.5': write NAME=LOW..HIGH"),
        ("[fix]\nl1 = -1.0", "--fix l1=-1.0: it takes 0 or more"),
        ("optimizer = 'sdg'", "--optimizer 'sdg': input should be 'sgd', 'adam' or 'adamw'"),
        ("batch-size = 2000\ndataset = 'digits'", "--batch-size 2000: there are 1100 training"),
        ("objective = 'cnn'\ndataset = 'wine'", "--objective cnn: it reads images"),
        ("proximal = true", "there is no L1 to take the step of: add l1 or alpha"),
    ],
)
def test_file_with_a_fault_is_refused_in_one_line(
    text: str, told: str, call: Cli, tmp_path: Path
) -> None:
    """Exit status 2, the value and the remedy; no database is made."""
    (tmp_path / "study.toml").write_text(text)
    result = call("create", "--config", "study.toml")
    assert result.returncode == 2
    assert told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("*.db"))
