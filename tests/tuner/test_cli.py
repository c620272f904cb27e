"""The command line as a user meets it: real files, real databases, and real processes.

What a command says and does not need a new Python for is seen within this one (`call`).
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import typer

from tests.conftest import Cli
from tuner import cli
from tuner.commands import options

DIGITS = ("--dataset", "digits", "--epochs", "2")
NO_FILE = ("postgresql://u@h/d", "--storage-password-file", "missing")

BAD_INPUT: list[tuple[list[str], int, str]] = [
    (["run", "--objective", "resnet"], 2, "Unknown objective 'resnet'"),
    (["run", "--objective", "nowhere:f"], 2, "no module 'nowhere'"),
    (["run", "--objective", "json:nothing"], 2, "no function 'nothing'"),
    (["run", "--study", "s/confirm"], 2, "--study 's/confirm': names that end in /confirm"),
    (["run", "--study", "s/Co\u0144firm "], 2, "names that end in /confirm"),
    (["create", "--study", "s/confirm"], 2, "those of confirmations, which `tuner confirm` makes"),
    (["run", "--dataset", "cifar"], 2, "Unknown data set 'cifar'"),
    (["run", "--sampler", "best"], 2, "--sampler 'best'"),
    (["run", "--pruner", "hard"], 2, "--pruner 'hard'"),
    (["run", "--weight-decay", "1e-2", "1e-5"], 2, "--weight-decay 0.01 1e-05"),
    (["run", "--weight-decay", "0", "1e-2"], 2, "--weight-decay 0 0.01"),
    (["run", "--weight-decay", "-1", "1e-2"], 2, "--weight-decay -1 0.01"),
    (["run", "--weight-decay", "low", "high"], 2, "given: 'low'"),
    (["run", "--trials", "0"], 2, "greater than or equal to 1 (given: '0')"),
    (["run", "--trials", "many"], 2, "given: 'many'"),
    (["run", "--trials", "99999999999"], 2, "a budget is 1 to"),
    (["run", "--study", " "], 2, "--study ' ': a name has"),
    (["run", "--study", "x" * 600], 2, "a name has 1 to 250"),
    (["run", "--workers", "0"], 2, "--workers"),
    (["run", "--timeout", "soon"], 2, "'soon' is not a duration: write 90s, 30m, 2h or 30d"),
    (["run", "--storage", "tuner.db"], 2, "cannot be parsed"),
    (["run", "--storage", "redis://h/0"], 2, "'redis'"),
    (["run", "--storage", "mysql://u:s3@cret@h/d"], 2, "write it as %40"),
    (["run", "--storage", *NO_FILE], 2, "missing: No such file"),
    (["user", "list", "--storage-password-file", "x"], 2, "tuner.db has no password"),
    (["run", "--output", "missing/best.json"], 1, "Cannot write missing/best.json"),
    (["run", "--config", "missing.toml"], 2, "missing.toml: No such file"),
    (["run", "--colour", "red"], 2, "No such option"),
    (["status"], 1, "There is no database tuner.db"),
    (["export"], 1, "There is no database tuner.db"),
    (["export", "--format", "xml"], 2, "Unknown format 'xml'"),
    (["train", "--trial", "1", "--lr", "0.1"], 2, "leave the other settings out"),
    (["train", "--lr", "0.1"], 2, "give --weight-decay"),
    (
        ["train", "--lr", "1", "--weight-decay", "0", "--device", "tpu9", *DIGITS],
        2,
        "Device 'tpu9'",
    ),
    (["worker", "--study", "s"], 1, "There is no database tuner.db"),
    (["confirm"], 1, "There is no database tuner.db"),
    (["confirm", "--seeds", "1"], 2, "--seeds"),
    (["run", "--seeds", "1"], 2, "--seeds"),
]


BAD_INPUT_TO_A_PROCESS: list[tuple[list[str], int, str]] = [
    (["run", "--output", "/dev/null"], 1, "not a regular file"),
    (["run", "--storage", "postgresql://u:s3cret@127.0.0.1:9/d"], 1, "Cannot open storage"),
    (["frobnicate"], 2, "No such command"),
]


@pytest.mark.parametrize(("arguments", "status", "said"), BAD_INPUT, ids=str)
def test_bad_input_gives_one_line_and_a_status(
    call: Cli, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    """What was tried, the value and the remedy, in one line; no traceback, nothing half-written."""
    _assert_refused(call(*arguments), tmp_path, status, said)


@pytest.mark.parametrize(("arguments", "status", "said"), BAD_INPUT_TO_A_PROCESS, ids=str)
def test_process_with_bad_input_ends_in_one_line_and_a_status(
    cli: Cli, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    """Nothing is added by how a process begins and ends, its own helpers' ends included."""
    _assert_refused(cli(*arguments), tmp_path, status, said)


def _assert_refused(
    result: subprocess.CompletedProcess[str], folder: Path, status: int, said: str
) -> None:
    assert result.returncode == status
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "cret" not in result.stderr
    assert result.stdout == ""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("key", ["storage-password-file", "storage_password_file"])
def test_password_file_in_a_study_file_counts_before_the_storage(
    call: Cli, tmp_path: Path, key: str
) -> None:
    """Wherever it is given, it is read before the URL that it completes; empty is as left out."""
    config = tmp_path / "study.toml"
    config.write_text(f'{key} = "missing"\nstorage = "postgresql://u@127.0.0.1:9/d"\n')
    result = call("status", "--config", str(config))
    assert (result.returncode, result.stderr) == (
        2,
        "tuner: The storage's password file missing: No such file or directory\n",
    )
    empty = call("status", TUNER_STORAGE_PASSWORD_FILE="")
    assert "There is no database tuner.db" in empty.stderr


def _commands(command: Any, path: str = "tuner") -> Iterator[tuple[str, list[str]]]:
    """Yield each command with its parameters, in the order of its help."""
    for name, each in getattr(command, "commands", {}).items():
        yield from _commands(each, f"{path} {name}")
    if not hasattr(command, "commands"):
        yield path, [parameter.name for parameter in command.params]


def test_options_of_the_storage_stand_together_in_every_help() -> None:
    """Arguments come first, then file, storage, its password and the study."""
    shared = ["config", "storage", "storage_password_file", "study"]
    found = dict(_commands(typer.main.get_command(cli.app)))
    with_storage = {path: names for path, names in found.items() if "storage" in names}
    assert len(with_storage) == 30
    for path, names in with_storage.items():
        own = [name for name in shared if name in names]
        begin = names.index("config")
        assert names[begin : begin + len(own)] == own, path


def test_help_status_and_export_do_not_import_torch() -> None:
    """Commands that train nothing start without torch."""
    program = (
        "import sys, tuner.cli, tuner.report, tuner.answer.export, tuner.answer.record\n"
        "import tuner.study, tuner.run\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.db
@pytest.mark.slow
@pytest.mark.heavy
def test_run_with_two_workers_ends_with_exactly_its_budget(call: Cli, storage_url: str) -> None:
    """Twenty trials on two workers are twenty finished trials, on each database."""
    run = ["run", "--storage", storage_url, "--workers", "2", "--trials", "20", *DIGITS]
    result = call(*run, "--no-confirm", "--json")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["n_finished"] == 20
    assert sum(answer["states"].values()) == 20
    assert set(answer["states"]) <= {"COMPLETE", "PRUNED"}
    assert answer["best"]["evidence"]["test_accuracy"] > 0.5
    engine = sqlalchemy.create_engine(_with_driver(storage_url))
    with engine.connect() as connection:
        count = "SELECT COUNT(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
        assert connection.execute(sqlalchemy.text(count)).scalar_one() == 20


def _with_driver(url: str) -> sqlalchemy.URL:
    from storage import parse_url

    return parse_url(url)


@pytest.mark.slow
def test_study_from_first_run_to_extension(fork: Cli, call: Cli, tmp_path: Path) -> None:
    """A first run, the looks at it, a second run that has nothing to do, and an extension."""
    study = ("--study", "d")
    run = ("run", *study, "--no-confirm")
    first = fork(*run, "--trials", "4", "--workers", "2", *DIGITS)
    assert first.returncode == 0, first.stderr
    assert "4 of 4 trials finished" in first.stdout
    assert "test accuracy" in first.stdout
    assert "4/4 finished" in first.stderr

    exported = json.loads((tmp_path / "best_lambda.json").read_text())
    status = json.loads(call("status", *study, "--json").stdout)
    assert status["best"]["params"]["weight_decay"] == exported["weight_decay"]
    assert status["workers"] == []
    rows = json.loads(call("trials", *study, "--json").stdout)
    assert [row["number"] for row in rows] == [0, 1, 2, 3]
    assert rows[exported["provenance"]["trial"]]["value"] == exported["evidence"]["search_value"]

    again = call(*run)
    assert again.returncode == 0
    assert "finished already: 4 of 4" in again.stdout
    extended = call(*run, "--trials", "6", "--json")
    assert json.loads(extended.stdout)["n_finished"] == 6

    refused = call("run", *study, "--weight-decay", "1e-4", "1e-2")
    assert refused.returncode == 2
    assert "weight_decay 1e-05 0.01, not 0.0001 0.01" in refused.stderr

    replay = call("train", *study, "--trial", "1")
    for line in replay.stdout.splitlines():
        accuracy, recorded = line.split("Accuracy: ")[1].rstrip(")").split(" (recorded: ")
        assert abs(float(accuracy) - float(recorded)) <= 0.002
    rows = json.loads(call("train", *study, "--trial", "1", "--json").stdout)
    assert len(rows) == len(replay.stdout.splitlines())
    assert all(abs(row["validation_accuracy"] - row["recorded"]) <= 0.002 for row in rows)


@pytest.mark.slow
def test_run_on_mnist_writes_a_json_that_loads_without_torch(
    cli: Cli, tmp_path: Path, mnist_dir: Path
) -> None:
    """The main job on real MNIST: two trials, one epoch, and the answer in another process."""
    run = ("run", "--no-confirm", "--data-dir", str(mnist_dir))
    result = cli(*run, "--trials", "2", "--epochs", "1")
    assert result.returncode == 0, result.stderr
    program = (
        "import json, sys\n"
        "best = json.load(open('best_lambda.json'))\n"
        "assert 'torch' not in sys.modules\n"
        "print(best['weight_decay'], best['evidence']['test_accuracy'])"
    )
    other = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    weight_decay, accuracy = map(float, other.stdout.split())
    assert 1e-5 <= weight_decay <= 1e-2
    assert accuracy > 0.4


def test_json_of_a_chatty_objective_is_one_document(fork: Cli, tmp_path: Path) -> None:
    """What a user's module and objective print goes to stderr, the result alone to stdout."""
    (tmp_path / "theirs.py").write_text(
        "print('imported')\n"
        "def objective(trial):\n"
        "    print('called')\n"
        "    return trial.suggest_float('x', 0, 1)\n"
    )
    result = fork("run", "--objective", "theirs:objective", "--trials", "2", "--json")
    assert json.loads(result.stdout)["n_finished"] == 2
    assert "called" in result.stderr


def test_train_prints_each_epoch_on_a_line(call: Cli) -> None:
    """The textbook's lines, for the textbook's script."""
    result = call("train", "--weight-decay", "1e-4", "--lr", "0.1", *DIGITS)
    first, second = result.stdout.splitlines()
    assert first.startswith("Epoch 1, Average Loss: ")
    assert ", Test Accuracy: 0." in second


def test_flag_beats_environment_beats_file_beats_default(call: Cli, tmp_path: Path) -> None:
    """Each source of an option overrides the next; the default fills the rest."""
    (tmp_path / "study.toml").write_text(
        'study = "c"\nepochs = 7\nbatch-size = 7\nseed = 7\nlr = [1e-2, 1e-1]\nworkers = 3\n'
        "timeout = 90\njson = true\n"
    )
    result = call(
        "create", "--config", "study.toml", "--epochs", "9",
        TUNER_EPOCHS="8", TUNER_BATCH_SIZE="8", TUNER_WEIGHT_DECAY="1e-4 1e-3",
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(result.stdout)
    spec = answer["spec"]
    assert answer["study"] == "c"
    assert (spec["epochs"], spec["batch_size"], spec["seed"]) == (9, 8, 7)
    assert (spec["lr"], spec["weight_decay"]) == ([1e-2, 1e-1], [1e-4, 1e-3])
    assert spec["sampler"] == "tpe"


def test_study_file_with_an_unknown_key_is_refused(call: Cli, tmp_path: Path) -> None:
    """A misspelt key is not silently passed over."""
    (tmp_path / "study.toml").write_text("trails = 7\n")
    result = call("create", "--config", "study.toml")
    assert result.returncode == 2
    assert "no option 'trails'" in result.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1d", 86400)]
)
def test_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    """Durations are written as people write them."""
    assert options.parse_duration(text) == seconds
