"""What an objective may change of torch, put back before the next trial."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any


def remember_torch() -> Iterator[Callable[[], object]]:
    """Yield what puts back torch's modes, where an objective has imported it before.

    Where one imports it now, they are its defaults.
    """
    imported_before = "torch" in sys.modules
    before = _read_torch_modes() if imported_before else None

    def restore() -> None:
        if "torch" in sys.modules:
            _write_torch_modes(before)

    yield restore


def _read_torch_modes() -> dict[str, Any]:
    import torch

    return {
        "dtype": torch.get_default_dtype(),
        "is_grad_enabled": torch.is_grad_enabled(),
        "is_deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "n_threads": torch.get_num_threads(),
        "device": torch.get_default_device(),
        "precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "mkldnn": torch.backends.mkldnn.enabled,
        "autocast": torch.is_autocast_enabled("cpu"),
        "detects_anomaly": torch.is_anomaly_enabled(),
    }


def _write_torch_modes(before: dict[str, Any] | None) -> None:
    import torch

    torch.set_flush_denormal(False)  # which nothing tells
    modes = before or {
        "dtype": torch.float32,
        "is_grad_enabled": True,
        "is_deterministic": False,
        "warns_only": False,
        "n_threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
        "device": torch.device("cpu"),
        "precision": "highest",
        "cudnn": (False, False),
        "mkldnn": True,
        "autocast": False,
        "detects_anomaly": False,
    }
    if modes == _read_torch_modes():
        return
    torch.set_default_dtype(modes["dtype"])
    torch.set_grad_enabled(modes["is_grad_enabled"])
    torch.use_deterministic_algorithms(modes["is_deterministic"], warn_only=modes["warns_only"])
    torch.set_num_threads(modes["n_threads"])
    if torch.get_default_device() != modes["device"]:
        torch.set_default_device(None)
    torch.set_float32_matmul_precision(modes["precision"])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = modes["cudnn"]
    torch.backends.mkldnn.enabled = modes["mkldnn"]
    torch.set_autocast_enabled("cpu", modes["autocast"])
    torch.autograd.set_detect_anomaly(modes["detects_anomaly"])
