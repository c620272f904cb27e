"""Fill the document ``lambda-tuner/best/1`` from a study: its trials, and what fresh seeds said.

What the document holds is said in ``best``; this module says where each fact comes from.
"""

import functools
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from objectives import DATASETS, OBJECTIVES
from storage import is_given_back
from tuner.answer.best import (
    SCHEMA,
    Best,
    Dataset,
    Evidence,
    Meaning,
    Pin,
    Provenance,
    Rule,
    Verdict,
)
from tuner.confirmation.values import Confirmation, Rung, Source
from tuner.errors import NoResultError, UsageError
from tuner.selection import find_confirmation, find_test_accuracy, get_best_trial
from tuner.spec import Spec
from tuner.study import LoadedStudy

# The document as plain data, as JSON holds it.
Document = dict[str, Any]

# A choice this close to an end of the searched range, as a fraction of the range on a log scale,
# says that the range may be too narrow.
_EDGE_FRACTION = 0.05

_BEST = TypeAdapter(Best)


@dataclass(frozen=True)
class _Choice:
    """The configuration that a rule, or a person, has chosen, and what is known of it."""

    params: dict[str, Any]
    source: Source
    trial: int | None
    search_value: float | None
    optimism: float | None
    rung: Rung | None  # what fresh seeds said of it
    test_accuracy: float | None
    test_standard_error: float | None
    test_n_seeds: int


def build_document(
    loaded: LoadedStudy, rule: Rule | None = None, pin: Pin | None = None
) -> Document:
    """Return a study's answer as plain data; raises NoResultError, and UsageError for a pin.

    Without a rule it is `1se` once fresh seeds have confirmed the study, else `best`. Facts that
    are not known are None: those of a function objective, which keeps them to itself, and those
    that only fresh seeds can tell.
    """
    confirmation = find_confirmation(loaded)
    if rule is None:
        rule = "best" if confirmation is None else "1se"
    if rule != "best" and confirmation is None:
        raise NoResultError(
            f"Rule {rule} needs fresh seeds, and study {loaded.name!r} has none yet: "
            "run `tuner confirm` first"
        )
    if pin is not None:
        choice = _of_trial(loaded, get_pinned_trial(loaded, pin.trial), confirmation)
    elif rule == "best":
        choice = _of_trial(loaded, get_best_trial(loaded), confirmation)
    else:
        assert confirmation is not None  # refused above
        choice = _of_rung(confirmation, rule)
    weight_decay = choice.params.get("weight_decay")
    best = Best(
        schema=SCHEMA,
        study=loaded.name,
        rule=rule,
        weight_decay=weight_decay,
        l2_penalty=None if weight_decay is None else weight_decay / 2,
        lr=choice.params.get("lr"),
        params=choice.params,
        pinned=pin,
        meaning=_meaning(loaded.spec),
        evidence=_evidence(loaded.spec, choice, confirmation),
        provenance=_provenance(loaded, choice, confirmation),
    )
    document: Document = _BEST.dump_python(best, mode="json")
    return document


def schema_text() -> str:
    """Return the JSON Schema of the document, as `best.schema.json` holds it."""
    schema = _BEST.json_schema()
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
    }
    return json.dumps({**head, **schema}, indent=2, ensure_ascii=False) + "\n"


def get_pinned_trial(loaded: LoadedStudy, number: int) -> FrozenTrial:
    """Return a trial that may be pinned, or raise UsageError."""
    for trial in loaded.study.get_trials(deepcopy=False):
        if trial.number == number:
            if trial.state is TrialState.COMPLETE:
                return trial
            raise UsageError(
                f"--pin {number}: trial {number} is {trial.state.name}; only a COMPLETE trial "
                "has a value to stand for it"
            )
    raise UsageError(f"--pin {number}: study {loaded.name!r} has no trial {number}")


def _of_trial(
    loaded: LoadedStudy, trial: FrozenTrial, confirmation: Confirmation | None
) -> _Choice:
    """Describe a trial of the search; fresh seeds may have judged its configuration."""
    is_confirmed = confirmation is not None and confirmation.search_trial == trial.number
    rung = None
    if confirmation is not None and is_confirmed:
        rung = next((r for r in confirmation.rungs if r.candidate.source == "search"), None)
    test_accuracy = find_test_accuracy(loaded, trial)
    return _Choice(
        params=trial.params,
        source="search",
        trial=trial.number,
        search_value=trial.value,
        optimism=confirmation.optimism if confirmation is not None and is_confirmed else None,
        rung=rung,
        test_accuracy=test_accuracy,
        test_standard_error=None,
        test_n_seeds=0 if test_accuracy is None else 1,
    )


def _of_rung(confirmation: Confirmation, rule: Literal["min", "1se"]) -> _Choice:
    """Describe the rung that a rule has chosen."""
    rung = confirmation.chosen(rule)
    score = confirmation.test.get(rule)
    return _Choice(
        params={"weight_decay": rung.candidate.weight_decay, "lr": rung.candidate.lr},
        source=rung.candidate.source,
        trial=confirmation.search_trial if rung.candidate.source == "search" else None,
        search_value=confirmation.search_value,
        optimism=confirmation.optimism,
        rung=rung,
        test_accuracy=None if score is None else score.mean,
        test_standard_error=None if score is None else score.standard_error,
        test_n_seeds=0 if score is None else score.n_seeds,
    )


def _meaning(spec: Spec) -> Meaning:
    facts: dict[str, Any] = dict.fromkeys(Meaning.__dataclass_fields__)
    if not spec.is_function:
        dataset = DATASETS[spec.dataset]
        facts |= asdict(OBJECTIVES[spec.objective])
        del facts["name"]
        facts |= {
            "penalty_formula": "loss + l2_penalty * ||w||^2, with l2_penalty = weight_decay / 2",
            "batch_size": spec.batch_size,
            "epochs": spec.epochs,
            "dataset": Dataset(
                name=spec.dataset,
                sha256=dataset.sha256,
                n_train=spec.train_size or dataset.n_train,
                n_validation=dataset.n_validation,
                n_test=dataset.n_test,
                split_seed=spec.seed,
            ),
        }
    return Meaning(**{**facts, "objective": spec.objective})


def _evidence(spec: Spec, choice: _Choice, confirmation: Confirmation | None) -> Evidence:
    rung = choice.rung
    verdict = None if confirmation is None else Verdict(**confirmation.verdict.model_dump())
    return Evidence(
        metric="objective value" if spec.is_function else "validation accuracy",
        direction=spec.direction,
        search_value=_finite(choice.search_value),
        mean=None if rung is None else _finite(rung.mean),
        standard_error=None if rung is None else _finite(rung.standard_error),
        n_seeds=0 if rung is None else len(rung.values),
        optimism=_finite(choice.optimism),
        test_accuracy=choice.test_accuracy,
        test_standard_error=choice.test_standard_error,
        test_n_seeds=choice.test_n_seeds,
        range=None if spec.is_function else spec.weight_decay,
        edge=None if spec.is_function else _edge(spec, choice.params["weight_decay"]),
        verdict=verdict,
    )


@functools.cache
def _versions() -> dict[str, str]:
    """Return the versions of what is installed; reading them costs more than all the rest."""
    return {name: version(name) for name in ("lambda-tuner", "optuna", "torch")}


def _finite(value: float | None) -> float | None:
    """Return a number that JSON and every database can hold; a function's value may be infinite."""
    return None if value is None or not math.isfinite(value) else value


def _edge(spec: Spec, weight_decay: float) -> Literal["low", "high"] | None:
    """Return at which end of the searched range the choice lies.

    No penalty at all is outside the range, and widening it would not come nearer.
    """
    if weight_decay == 0:
        return None
    low, high = map(math.log, spec.weight_decay)
    position = (math.log(weight_decay) - low) / (high - low)
    if position < _EDGE_FRACTION:
        return "low"
    return "high" if position > 1 - _EDGE_FRACTION else None


def _provenance(
    loaded: LoadedStudy, choice: _Choice, confirmation: Confirmation | None
) -> Provenance:
    trials = loaded.study.get_trials(deepcopy=False)
    states = Counter(t.state.name for t in trials if not is_given_back(t))
    return Provenance(
        version=None,  # said by ``record``
        trial=choice.trial,
        source=choice.source,
        confirmation=None if confirmation is None else confirmation.study,
        trials_by_state=dict(sorted(states.items())),
        seed=loaded.spec.seed,
        sampler=loaded.spec.sampler,
        pruner=loaded.spec.pruner,
        spec_hash=loaded.spec.hash,
        versions=dict(_versions()),
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
