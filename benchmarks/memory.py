"""Peak memory of a fresh process that trains: torch, the data and its preparation are in it."""

import multiprocessing
import sys
from pathlib import Path

import torch

from benchmarks.ways import BATCH_SIZE, TRAINERS, Way, train_anew

MIB = 1024**2

_N_BATCHES = 10


def peak_memory(way: Way, data_dir: Path) -> int | None:
    """Return the bytes that a process needs at most to train so, where Linux tells; else None."""
    if sys.platform != "linux":
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_train_a_little, (way, data_dir))


def _train_a_little(way: Way, data_dir: Path) -> int:
    trainer = TRAINERS[way.name](data_dir)
    train_anew(trainer, way, torch.arange(_N_BATCHES * BATCH_SIZE))
    # Not `ru_maxrss`: a process inherits its parent's.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
