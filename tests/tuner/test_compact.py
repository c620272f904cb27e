"""Our own attributes stay within a column of any database, and are read back whole."""

import json

import optuna
import pytest

from storage import Limits, create_storage
from tuner.compact import (
    MOST_VALUES,
    curve_attrs,
    pack_passes,
    read_document,
    unpack_passes,
    write_document,
)
from tuner.confirmation.values import CONFIRMATION


@pytest.mark.parametrize("n_epochs", [0, 1, 1000, 1001, 7777, 100_000])
def test_curve_of_any_length_fits_and_keeps_its_last_value(n_epochs: int) -> None:
    """At most a thousand values, evenly apart, counted from the last."""
    losses = [-1.23456789e-200 / (epoch + 1) for epoch in range(n_epochs)]
    attrs = curve_attrs("training_loss", losses)
    every = attrs.get("training_loss_every", 1)
    assert len(attrs["training_loss"]) <= MOST_VALUES
    assert attrs["training_loss"] == pytest.approx(losses[::-1][::every][::-1], rel=1e-5)
    Limits.of("mysql").check_attr("training_loss", attrs["training_loss"])


def test_short_curve_is_kept_as_it_is_but_for_rounding() -> None:
    """A value an epoch, and nothing else; what is not finite stays so."""
    attrs = curve_attrs("training_loss", [2.30258509299, 0.5, float("inf")])
    assert attrs == {"training_loss": [2.30259, 0.5, float("inf")]}


@pytest.mark.parametrize("passes", [[], [3], [3, 4, 5, 9, 10, 2], list(range(5, 20_000))])
def test_passes_are_the_same_after_packing(passes: list[int]) -> None:
    """Also those that older versions stored one by one."""
    packed = pack_passes(passes)
    assert unpack_passes(json.loads(json.dumps(packed))) == tuple(passes)
    assert unpack_passes(passes) == tuple(passes)
    assert len(packed) <= 3


@pytest.mark.db
def test_document_of_any_length_is_stored_and_replaced(storage_url: str) -> None:
    """A confirmation with hundreds of seeds is read as it was written."""
    study = optuna.create_study(storage=create_storage(storage_url))
    assert read_document(study.user_attrs, CONFIRMATION) is None
    for n_seeds in (2000, 3, 9000):
        document = {"values": {str(seed): seed / 7 for seed in range(n_seeds)}, "note": 'ü"\\'}
        write_document(study, CONFIRMATION, document)
        assert read_document(study.user_attrs, CONFIRMATION) == document
