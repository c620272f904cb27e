"""CMA-ES whose state, kept in the database, is read without running what stands in it.

Optuna keeps CMA-ES' state pickled with the trials, and loading a pickle can run any code: whoever
can write to the database could so choose what runs on every worker of such a study.
"""

import io
import pickle
from typing import Any

from optuna.samplers import CmaEsSampler
from optuna.trial import FrozenTrial

# What the state of ``cmaes.CMA`` is made of: arrays and numbers; numpy 1 calls them `numpy.core`.
_HARMLESS = frozenset(
    {
        ("cmaes._cma", "CMA"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
    }
)


class SafeCmaEsSampler(CmaEsSampler):
    """Optuna's sampler, which takes nothing but arrays and numbers from the database."""

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            attrs = {
                key: value
                for key, value in trial.system_attrs.items()
                if key.startswith(self._attr_key_optimizer)
            }
            if attrs:
                state = bytes.fromhex(self._concat_optimizer_attrs(attrs))
                return _HarmlessUnpickler(io.BytesIO(state)).load()
        return None


class _HarmlessUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few things that the state needs; raises UnpicklingError."""
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(
                f"The state of CMA-ES in the database names {module}.{name}: somebody has put it "
                "there, and it is not run"
            )
        return super().find_class(module, name)
