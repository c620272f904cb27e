"""Files that hold models: a trial after its last epoch, to go on from; the best one, to score.

Written whole or not at all. A file that cannot be written or read costs time, never a trial.
"""

import hashlib
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ConfigDict, TypeAdapter

from tuner.whole_files import whole_file

logger = logging.getLogger(__name__)

# Of a study's name in a folder's, which has up to 255 bytes; of what is said of a damaged file.
_LONGEST_NAME = 150
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Checkpoint:
    """A trial after some epochs: all that it takes to go on as if nothing had happened.

    ``trial`` is the number of its initialisation: in a search that of the trial that began.
    ``passes``, ``values`` and ``losses`` are by epoch. ``best`` is the state after the best of
    them, if the trial may end early.
    """

    __pydantic_config__ = ConfigDict(revalidate_instances="always")

    trial: int
    params: dict[str, Any]
    passes: list[int]
    values: list[float]
    losses: list[float]
    state: Mapping[str, Any]
    best: Mapping[str, Any] | None = None


_CHECKPOINT = TypeAdapter(Checkpoint)


class Checkpoints:
    """A study's checkpoints in a directory, which workers of many hosts may share.

    A trial and its reruns have one, under the number of the first of them.
    """

    def __init__(self, directory: Path, study_name: str, spec_hash: str) -> None:
        name = quote(study_name, safe="")
        if len(name) > _LONGEST_NAME:
            name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(study_name.encode()).hexdigest()[:16]}"
        self._folder = directory / f"{name}-{spec_hash}"

    def save(self, first: int, checkpoint: Checkpoint) -> None:
        """Replace the trial's checkpoint."""
        _write(self._path(first), vars(checkpoint))

    def find(self, first: int, params: Mapping[str, Any]) -> Checkpoint | None:
        """Return the checkpoint of a trial with these parameters, if there is one."""
        path = self._path(first)
        content = _read(path)
        if content is None:
            return None
        if "accuracies" in content:  # of an older version
            content["values"] = content.pop("accuracies")
            content["state"] = {"model": content.get("state"), "moments": {}, "step": 0}
        try:
            found = _CHECKPOINT.validate_python(Checkpoint(**content), strict=True)
            if not len(found.passes) == len(found.values) == len(found.losses) > 0:
                raise ValueError("its epochs are of different numbers")
        except (TypeError, ValueError) as error:
            _leave_out(path, error)
            return None
        return found if found.params == dict(params) else None  # left by a study that was deleted

    def remove(self, first: int) -> None:
        """Remove the trial's checkpoint: it has ended."""
        _remove(self._path(first))

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
            _remove(_model_path(self._folder, self._kept[-1]))
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as stream:
            stream.write(buffer.getbuffer())
    except OSError as error:
        logger.warning("Could not write %s: %s", path, error)


def _read(path: Path) -> dict[str, Any] | None:
    import torch

    try:
        # Only tensors and plain values: a file of somebody else's runs no code.
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 (torch has many words for a damaged file)
        _leave_out(path, error)
        return None
    return content


def _leave_out(path: Path, error: Exception) -> None:
    said = " ".join(str(error).split())[:_LONGEST_REASON]
    logger.warning("Could not read %s, which is left out: %s", path, said)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("Could not remove %s: %s", path, error)
