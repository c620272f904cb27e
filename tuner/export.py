"""The answer, in the forms other projects read: one document, schema ``lambda-tuner/best/1``.

The JSON document carries every fact; the other formats carry the same ones as far as they can.
"""

import json
import math
import os
import pprint
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from objectives import DATASETS, OBJECTIVES
from storage import is_given_back
from tuner.errors import TunerError
from tuner.selection import find_test_accuracy, get_best_trial
from tuner.spec import Spec
from tuner.study import LoadedStudy

SCHEMA = "lambda-tuner/best/1"

Document = dict[str, Any]

# A choice this close to an end of the searched range, as a fraction of the range on a log scale,
# says that the range may be too narrow.
_EDGE_FRACTION = 0.05


def build_document(loaded: LoadedStudy) -> Document:
    """Return the answer of a study as plain data; raises NoResultError.

    Facts that are not known are None: those of a function objective, which keeps them to itself,
    and those that only fresh seeds can tell.
    """
    best = get_best_trial(loaded)
    weight_decay = best.params.get("weight_decay")
    return {
        "schema": SCHEMA,
        "study": loaded.name,
        "rule": "best",
        "weight_decay": weight_decay,
        "l2_penalty": None if weight_decay is None else weight_decay / 2,
        "lr": best.params.get("lr"),
        "params": best.params,
        "meaning": _meaning(loaded.spec),
        "evidence": _evidence(loaded, best),
        "provenance": _provenance(loaded, best),
    }


def _meaning(spec: Spec) -> Document:
    if spec.is_function:
        return {"objective": spec.objective, "epochs": None, "dataset": None}
    recipe = asdict(OBJECTIVES[spec.objective])
    del recipe["name"]
    dataset = DATASETS[spec.dataset]
    return {
        "objective": spec.objective,
        **recipe,
        "penalty_formula": "loss + l2_penalty * ||w||^2, with l2_penalty = weight_decay / 2",
        "batch_size": spec.batch_size,
        "epochs": spec.epochs,
        "dataset": {
            "name": spec.dataset,
            "sha256": dataset.sha256,
            "n_train": spec.train_size or dataset.n_train,
            "n_validation": dataset.n_validation,
            "n_test": dataset.n_test,
            "split_seed": spec.seed,
        },
    }


def _evidence(loaded: LoadedStudy, best: FrozenTrial) -> Document:
    return {
        "metric": "objective value" if loaded.spec.is_function else "validation accuracy",
        "direction": loaded.spec.direction,
        "search_value": best.value,
        "mean": None,
        "standard_error": None,
        "n_seeds": 0,
        "optimism": None,
        "test_accuracy": find_test_accuracy(loaded, best),
        "range": None if loaded.spec.is_function else list(loaded.spec.weight_decay),
        "edge": _edge(loaded.spec, best),
        "verdict": None,
    }


def _edge(spec: Spec, best: FrozenTrial) -> str | None:
    """Return ``low`` or ``high`` if the choice lies at an end of the searched range."""
    if spec.is_function:
        return None
    low, high = map(math.log, spec.weight_decay)
    position = (math.log(best.params["weight_decay"]) - low) / (high - low)
    if position < _EDGE_FRACTION:
        return "low"
    return "high" if position > 1 - _EDGE_FRACTION else None


def _provenance(loaded: LoadedStudy, best: FrozenTrial) -> Document:
    trials = loaded.study.get_trials(deepcopy=False)
    states = Counter(t.state.name for t in trials if not is_given_back(t))
    return {
        "trial": best.number,
        "trials_by_state": dict(sorted(states.items())),
        "seed": loaded.spec.seed,
        "sampler": loaded.spec.sampler,
        "pruner": loaded.spec.pruner,
        "spec_hash": loaded.spec.hash,
        "versions": {name: version(name) for name in ("lambda-tuner", "optuna", "torch")},
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _to_json(document: Document) -> str:
    return json.dumps(document, indent=2) + "\n"


def _to_yaml(document: Document) -> str:
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False)
    return text


def _to_toml(document: Document) -> str:
    import tomli_w

    return tomli_w.dumps(_without_none(document))


def _without_none(document: Document) -> Document:
    """Drop what is not known: TOML has no null."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }


def _to_env(document: Document) -> str:
    return "".join(
        f"BEST_{name.upper()}={shlex.quote(value)}\n" for name, value in _flatten(document)
    )


def _flatten(document: Document, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in document.items():
        name = prefix + key.replace("-", "_")
        if isinstance(value, dict):
            yield from _flatten(value, f"{name}_")
        elif isinstance(value, list):
            yield name, " ".join(map(str, value))
        elif value is not None:
            yield name, str(value)


def _to_python(document: Document) -> str:
    return (
        f'"""The best weight decay of study {document["study"]!r}, by lambda-tuner."""\n\n'
        f"WEIGHT_DECAY = {document['weight_decay']!r}\n"
        f"L2_PENALTY = {document['l2_penalty']!r}\n"
        f"LR = {document['lr']!r}\n"
        f"BEST = {pprint.pformat(document, sort_dicts=False)}\n"
    )


FORMATS: dict[str, Callable[[Document], str]] = {
    "json": _to_json,
    "yaml": _to_yaml,
    "toml": _to_toml,
    "env": _to_env,
    "python": _to_python,
}


def check_writable(path: Path) -> None:
    """Raise TunerError if the file could not be written there: better now than after training."""
    folder = path.resolve().parent
    if path.exists() and not path.is_file():
        raise TunerError(f"Cannot write {path}: it is not a regular file")
    if not folder.is_dir():
        raise TunerError(f"Cannot write {path}: there is no directory {folder}")
    if not os.access(folder, os.W_OK):
        raise TunerError(f"Cannot write {path}: directory {folder} is not writable")


def write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises TunerError."""
    check_writable(path)
    target = path.resolve()  # a symbolic link stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TunerError(f"Cannot write {path}: {error.strerror}") from error
