"""An epoch's smaller last batch: its fate is found once, kept with the study, told to others."""

import json
from pathlib import Path

import pytest

from storage import create_storage
from tests.conftest import Cli
from tuner.study import create_or_resume, load_study, open_confirmation

TINY = ("--dataset", "digits", "--trials", "2", "--epochs", "1", "--workers", "1", "--no-confirm")


@pytest.mark.parametrize(
    ("options", "expected", "line"),
    [
        ((), "drop", "shuffle=True, drop_last=True"),
        (("--train-size", "200"), "scale", "multiplied by its size / 64"),
        (("--last-batch", "keep"), "keep", "shuffle=True, drop_last=False"),
    ],
)
def test_export_says_what_became_of_the_last_batch(
    call: Cli, options: tuple[str, ...], expected: str, line: str
) -> None:
    """By default it is dropped where there are ten others, else its gradient is scaled."""
    call("run", "--study", "s", *TINY, *options)
    answer = json.loads(call("export", "--study", "s").stdout)
    assert answer["meaning"]["last_batch"] == expected
    assert line in call("export", "--study", "s", "--format", "torch").stdout


def test_study_of_an_older_version_keeps_its_last_batch(sqlite_url: str) -> None:
    """Its spec, and that of its confirmation, says nothing, and is equal to the stored one."""
    storage = create_storage(sqlite_url)
    loaded = create_or_resume(storage, "s", {"dataset": "digits", "last_batch": "keep"})
    spec = {n: v for n, v in loaded.study.user_attrs["spec"].items() if n != "last_batch"}
    loaded.study.set_user_attr("spec", spec)
    old = load_study(storage, "s")
    for each in (old, open_confirmation(old)):
        assert each.spec.last_batch is None
        config = each.spec.training_config(data_dir=Path(), device="cpu")
        assert config.last_batch == "keep"


def test_confirmation_trains_as_its_study(sqlite_url: str) -> None:
    """Both store the same."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", {"dataset": "digits"})
    assert (loaded.spec.last_batch, open_confirmation(loaded).spec.last_batch) == ("drop", "drop")


def test_last_batch_that_contradicts_the_study_is_refused(call: Cli) -> None:
    """One line with both values; nothing is trained."""
    call("create", "--study", "s", "--dataset", "digits")
    refused = call("create", "--study", "s", "--last-batch", "scale")
    assert refused.returncode == 2
    assert "was created with last_batch drop, not scale" in refused.stderr
    unknown = call("create", "--study", "t", "--last-batch", "chop")
    assert "--last-batch 'chop': input should be 'drop', 'scale' or 'keep'" in unknown.stderr
