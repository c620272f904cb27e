"""CMA-ES goes on from the state in the database, and runs nothing that stands there."""

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from tuner.sampling.cmaes import SafeCmaEsSampler


def _run(sampler: optuna.samplers.BaseSampler, n_trials: int) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    study.optimize(
        lambda t: t.suggest_float("x", -1, 1) ** 2 + t.suggest_float("y", 0.1, 1, log=True),
        n_trials=n_trials,
    )
    return study


def test_cmaes_suggests_what_optunas_does() -> None:
    """Its state comes back whole, through several generations."""
    ours = _run(SafeCmaEsSampler(seed=1), 30)
    theirs = _run(optuna.samplers.CmaEsSampler(seed=1), 30)
    assert [t.params for t in ours.trials] == [t.params for t in theirs.trials]


class _Planted:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def _pointer() -> bytes:
    """Return a pickle of nothing but NumPy's, which looked at ends the process with SIGSEGV."""

    def name(module: bytes, attribute: bytes) -> bytes:
        return b"c" + module + b"\n" + attribute + b"\n"

    def dump(value: object) -> bytes:
        return pickle.dumps(value, 3)[2:-1]

    dtype = name(b"numpy", b"dtype") + dump(("O8", False, True)) + b"R"
    dtype += dump((3, "|", None, None, None, -1, -1, 0)) + b"b"
    scalar = name(b"numpy._core.multiarray", b"scalar")
    return b"\x80\x03" + scalar + b"(" + dtype + dump(b"A" * 8) + b"tR."


def _state_of(study: optuna.Study) -> dict[str, Any]:
    (attrs,) = [
        trial.system_attrs for trial in study.trials[-1:] if "cma:optimizer:0" in trial.system_attrs
    ] or [next(t.system_attrs for t in study.trials if "cma:optimizer:0" in t.system_attrs)]
    pieces = sorted(key for key in attrs if key.startswith("cma:optimizer:"))
    state: dict[str, Any] = json.loads("".join(attrs[key] for key in pieces))
    return state


def _with(**changes: object) -> str:
    study = _run(SafeCmaEsSampler(seed=1), 12)
    return json.dumps(_state_of(study) | changes)


@pytest.mark.parametrize(
    "planted",
    [
        lambda path: pickle.dumps(_Planted(path)).hex(),
        lambda _: _pointer().hex(),
        lambda _: "",
        lambda _: "[" * 100_000,
        lambda _: "{}",
        lambda _: _with(_mean=[0.0]),
        lambda _: _with(_mean=[math.nan, 0.0]),
        lambda _: _with(_c_1d=["a", "b", "c"]),
        lambda _: _with(_sigma=1e200),
        lambda _: _with(_sigma=-1),
        lambda _: _with(_g=-1),
        lambda _: _with(_g=1.5),
        lambda _: _with(bounds=[[0, 1]] * 5000),
        lambda _: _with(bounds=[]),
        lambda _: _with(_B=[[1.0]]),
    ],
)
def test_cmaes_takes_nothing_but_its_own_numbers(
    tmp_path: Path, planted: Callable[[Path], str]
) -> None:
    """Whoever can write to the database neither chooses what runs on workers, nor ends them."""
    study = _run(SafeCmaEsSampler(seed=1), 5)
    trial = study.trials[-1]
    study._storage.create_new_trial(
        study._study_id,
        optuna.trial.create_trial(
            value=0.0,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs={
                "cma:optimizer:0": planted(tmp_path / "has-run"),
                "cma:generation": 0,
            },
        ),
    )
    study.optimize(
        lambda t: t.suggest_float("x", -1, 1) + t.suggest_float("y", 0.1, 1, log=True), n_trials=9
    )
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 15
    assert not (tmp_path / "has-run").exists()


def test_cmaes_keeps_numbers_only() -> None:
    """What stands in the database can be read by anybody, and is no program."""
    state = _state_of(_run(SafeCmaEsSampler(seed=1), 12))
    assert state["_g"] >= 1
    assert len(state["_mean"]) == 2
