"""Images in files, read by a data set of one's own through torch's DataLoader."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

from tuner import Problem


class Files(Dataset):  # type: ignore[type-arg]
    """Files ``LABEL-NUMBER.npy`` of a folder."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.npy"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path = self.paths[index]
        return torch.from_numpy(np.load(path)).float() / 16, int(path.name.partition("-")[0])


def write_images(folder: Path) -> Path:
    """Write the files that this example reads."""
    folder.mkdir(exist_ok=True)
    digits = load_digits()
    for number, (image, label) in enumerate(
        zip(digits.data[:600], digits.target[:600], strict=True)
    ):
        path = folder / f"{label}-{number}.npy"
        if not path.exists():
            np.save(path, image)
    return folder


def problem() -> Problem:
    """Six hundred files."""
    folder = write_images(Path(tempfile.gettempdir()) / "lambda-tuner-example-images")
    return Problem(
        lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), Files(folder)
    )
