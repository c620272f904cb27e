"""Where trials train."""

import torch

from objectives.errors import UnknownNameError


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto`` (CUDA, else MPS, else CPU) or a torch device name.

    Raises UnknownNameError when torch does not know the name or this machine lacks the device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0][:200]
        raise UnknownNameError(f"Device {name!r} cannot be used here: {reason}") from error
    if device.type == "meta":
        raise UnknownNameError("Device 'meta' holds no data, so nothing can be trained on it")
    return device
