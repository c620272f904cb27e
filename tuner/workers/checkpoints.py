"""Files that hold models: a trial after its last epoch, to go on from; the best one, to score.

Written whole or not at all. A file that cannot be written or read costs time, never a trial.
"""

import io
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A trial after some epochs: all that it takes to go on as if nothing had happened.

    ``trial`` is the number of its initialisation: in a search that of the trial that began.
    ``passes``, ``values`` and ``losses`` are by epoch. ``best`` is the state after the best of
    them, if the trial may end early.
    """

    trial: int
    params: dict[str, Any]
    passes: list[int]
    values: list[float]
    losses: list[float]
    state: Mapping[str, Any]
    best: Mapping[str, Any] | None = None


class Checkpoints:
    """A study's checkpoints in a directory, which workers of many hosts may share.

    A trial and its reruns have one, under the number of the first of them.
    """

    def __init__(self, directory: Path, study_name: str, spec_hash: str) -> None:
        self._folder = directory / f"{quote(study_name, safe='')}-{spec_hash}"

    def save(self, first: int, checkpoint: Checkpoint) -> None:
        """Replace the trial's checkpoint."""
        _write(self._path(first), vars(checkpoint))

    def find(self, first: int, params: Mapping[str, Any]) -> Checkpoint | None:
        """Return the checkpoint of a trial with these parameters, if there is one."""
        content = _read(self._path(first))
        if content is None or content["params"] != dict(params):
            return None  # none, or left by a study that was deleted
        if "accuracies" in content:  # of an older version
            content["values"] = content.pop("accuracies")
            content["state"] = {"model": content["state"], "moments": {}, "step": 0}
        return Checkpoint(**content)

    def remove(self, first: int) -> None:
        """Remove the trial's checkpoint: it has ended."""
        self._path(first).unlink(missing_ok=True)

    def _path(self, first: int) -> Path:
        return self._folder / f"trial-{first}.pt"


class FinalModels:
    """Models of a worker's complete trials, kept so that scoring them need not train again.

    All of them, or only that of the best trial.
    """

    def __init__(self, folder: Path, *, only_best: bool) -> None:
        self._folder = folder
        self._only_best = only_best
        self._kept: tuple[float, int, int] | None = None

    def offer(self, trial: int, value: float, epochs: int, state: Mapping[str, Any]) -> None:
        """Keep the model; or only if its trial is the best so far by ``tuner.selection``."""
        if not self._only_best:
            return _write(_model_path(self._folder, trial), dict(state))
        rank = (-value, epochs, trial)
        if self._kept is not None and self._kept < rank:
            return None
        _write(_model_path(self._folder, trial), dict(state))
        if self._kept is not None:
            _model_path(self._folder, self._kept[-1]).unlink(missing_ok=True)
        self._kept = rank
        return None


def find_model(folder: Path | None, trial: int) -> Mapping[str, Any] | None:
    """Return the state of a trial's model, if a worker of this run has kept it."""
    return None if folder is None else _read(_model_path(folder, trial))


def _model_path(folder: Path, trial: int) -> Path:
    return folder / f"model-{trial}.pt"


def _write(path: Path, content: dict[str, Any]) -> None:
    import torch

    buffer = io.BytesIO()  # not to the file: of a full disk torch tells in other words than Python
    torch.save(content, buffer)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getbuffer())
        os.replace(temporary, path)
    except OSError as error:
        logger.warning("Could not write %s: %s", path, error)


def _read(path: Path) -> dict[str, Any] | None:
    import torch

    try:
        # Only tensors and plain values: a file of somebody else's runs no code.
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 (torch has many words for a damaged file)
        logger.warning("Could not read %s, which is left out: %s", path, error)
        return None
    return content
