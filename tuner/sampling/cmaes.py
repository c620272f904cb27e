"""CMA-ES whose state is kept in the database as numbers, and nothing else is taken from there.

Optuna keeps it pickled with the trials, and loading a pickle can run any code, or break the
process: whoever can write to the database could so choose what workers do. Here it is JSON, of
which an optimizer is made anew; what does not fit, such as a pickle of another program, is passed
over: the search then begins anew from where all of its range is, and learns from the next trials.
"""

import json
import logging
from typing import Any

import numpy as np
from cmaes import CMA
from optuna.samplers import CmaEsSampler
from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

# What a search learns; all else follows from its dimensions.
_NUMBERS = ("_sigma", "_tolx", "_Vmean", "_VSigma", "_eta_mean", "_eta_Sigma")
_ARRAYS = ("_mean", "_p_sigma", "_pc", "_c_1d", "_Emean", "_ESigma", "_funhist_values", "_weights")
_DECOMPOSITION = ("_B", "_D")
_HIGHEST = 1e100
_MOST_DIMENSIONS = 1000


class SafeCmaEsSampler(CmaEsSampler):
    """Optuna's sampler, which takes nothing but numbers from the database."""

    _live: CMA | None = None

    def _init_optimizer(self, *arguments: Any, **options: Any) -> Any:
        self._live = super()._init_optimizer(*arguments, **options)
        return self._live

    def _split_optimizer_str(self, _pickled: str) -> dict[str, str]:
        """Return the attributes that keep the state of the optimizer that Optuna has pickled."""
        assert self._live is not None
        return super()._split_optimizer_str(_to_json(self._live))

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            prefix = self._attr_key_optimizer
            attrs = {k: v for k, v in trial.system_attrs.items() if k.startswith(prefix)}
            if attrs:
                try:
                    self._live = _from_json(self._concat_optimizer_attrs(attrs), self._popsize)
                except (ValueError, TypeError, KeyError, AssertionError, RecursionError) as error:
                    reason = f"{type(error).__name__}: {error}"[:200]
                    logger.warning(
                        "Passed over the state of CMA-ES of trial %d, which is none of ours (%s)",
                        trial.number,
                        ascii(reason),
                    )
                    continue
                return self._live
        return None


def _to_json(optimizer: CMA) -> str:
    state = optimizer.__getstate__()
    kept: dict[str, object] = {name: float(state[name]) for name in _NUMBERS}
    kept |= {name: state[name].tolist() for name in _ARRAYS}
    for name in _DECOMPOSITION:
        kept[name] = None if state[name] is None else state[name].tolist()
    return json.dumps(kept | {"_g": state["_g"], "bounds": state["_bounds"].tolist()})


def _from_json(text: str, population_size: int | None) -> CMA:
    """Return the optimizer; raises ValueError, TypeError, KeyError or AssertionError."""
    kept = json.loads(text)
    bounds = _array(kept["bounds"])
    n = len(bounds)
    if bounds.shape != (n, 2) or not 0 < n <= _MOST_DIMENSIONS:
        raise ValueError("bounds of a wrong shape")
    optimizer = CMA(
        mean=bounds.mean(axis=1),
        sigma=1.0,
        bounds=bounds,
        n_max_resampling=10 * n,  # as Optuna's
        population_size=population_size,
    )
    state: dict[str, Any] = optimizer.__getstate__()
    for name in _NUMBERS:
        state[name] = float(_array(kept[name], ()))
    for name in _ARRAYS:
        state[name] = _array(kept[name], state[name].shape, is_finite=name != "_funhist_values")
    for name, shape in zip(_DECOMPOSITION, ((n, n), (n,)), strict=True):
        state[name] = None if kept[name] is None else _array(kept[name], shape)
    if type(kept["_g"]) is not int or not 0 <= kept["_g"] < 2**31 or state["_sigma"] <= 0:
        raise ValueError("a generation or width out of range")
    state["_g"] = kept["_g"]
    optimizer.__setstate__(state)
    return optimizer


def _array(
    numbers: object, shape: tuple[int, ...] | None = None, *, is_finite: bool = True
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return numbers as an array; raises ValueError or TypeError for anything else."""
    array = np.asarray(numbers, dtype=np.float64)
    if shape is not None and array.shape != shape:
        raise ValueError(f"an array of shape {array.shape} instead of {shape}")
    if is_finite and not (np.abs(array) < _HIGHEST).all():
        raise ValueError("a number that is too large, or none")
    return array
