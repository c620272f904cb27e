"""Which accelerator and how many threads a trainer gets: its share of the machine's."""

import os
import re
from pathlib import Path

from objectives import UnknownNameError
from tuner.workers.messages import Seat

_NAME = re.compile(r"auto|cpu|(cuda|mps|xpu|hpu|mtia)(:\d+)?")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# What numerical libraries read when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def parse_devices(text: str) -> tuple[str, ...]:
    """Return the devices of ``auto`` or, say, ``cuda:0,cuda:2``; raises UnknownNameError."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if _NAME.fullmatch(name) is None:
            raise UnknownNameError(
                f"Device {name!r} is not known: give auto, cpu, mps or cuda:N, or several as "
                "cuda:0,cuda:2"
            )
    return names


def choose_device(seat: Seat) -> str:
    """Return the device for this trainer, and hide the others from it.

    To be called before CUDA is used: of several GPUs each trainer sees one, as ``cuda:0``. More
    trainers than GPUs share them evenly.
    """
    name = seat.devices[seat.slot % len(seat.devices)]
    kind, _, index = name.partition(":")
    if kind not in ("auto", "cuda"):
        return name
    visible = _list_gpus()
    if not index:
        if len(visible) > 1:
            os.environ[_VISIBLE] = visible[seat.slot % len(visible)]
        return name
    if int(index) < len(visible):
        os.environ[_VISIBLE] = visible[int(index)]
        return "cuda"
    return name  # torch says that it is not there


def _list_gpus() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES may hold: what it holds, or the numbers of all GPUs."""
    given = os.environ.get(_VISIBLE)
    if given is not None:
        return [entry.strip() for entry in given.split(",") if entry.strip()]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return sorted((match[1] for match in found if match), key=int)


def limit_threads(n: int) -> None:
    """Let numerical libraries use ``n`` threads, those that are loaded and those to come."""
    import threadpoolctl

    for name in THREAD_VARIABLES:
        os.environ[name] = str(n)
    threadpoolctl.threadpool_limits(n)


def find_n_threads(given: int | None) -> int:
    """Return how many threads a trainer has: what was given, or OMP_NUM_THREADS says, or one."""
    if given is not None:
        return given
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) > 0 else 1
