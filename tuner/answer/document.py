"""Fill the document ``lambda-tuner/best/1`` from a study: its trials, and what fresh seeds said.

What the document holds is said in ``best``; this module says where each fact comes from.
"""

import functools
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from storage import is_given_back
from tuner.answer.best import (
    SCHEMA,
    Best,
    Clock,
    Dataset,
    Evidence,
    Meaning,
    Pin,
    Provenance,
    Rule,
    Verdict,
)
from tuner.answer.clock import find_clock
from tuner.confirmation.statistics import summarise
from tuner.confirmation.values import Confirmation, Rung, Source
from tuner.errors import NoResultError, UsageError
from tuner.exponents import find_reason_against_trial
from tuner.selection import find_confirmation, find_test_accuracy, get_best_trial
from tuner.space import read_space
from tuner.spec import Spec
from tuner.strict_json import find_texts, write_params
from tuner.study import LoadedStudy

# The document as plain data, as JSON holds it.
Document = dict[str, Any]

# A choice this close to an end of the searched range, as a fraction of the range on the scale that
# it was searched on, says that the range may be too narrow.
_EDGE_FRACTION = 0.05

_BEST = TypeAdapter(Best)


@dataclass(frozen=True)
class _Range:
    """From where to where the strength was searched, and on which scale."""

    low: float
    high: float
    is_log: bool


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
    by_fold: tuple[float, ...] = ()  # values of one training of it, or means over fresh seeds


def build_document(
    loaded: LoadedStudy, rule: Rule | None = None, pin: Pin | None = None
) -> Document:
    """Return a study's answer as plain data; raises NoResultError, and UsageError for a pin.

    Without a rule it is `1se` once fresh seeds have confirmed the study, else `best`. Facts that
    are not known are None: those of a function objective, which keeps them to itself, and those
    that only fresh seeds can tell. A trial whose λ is an exponent is no answer: NoResultError.
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
        choice = _of_rung(loaded, confirmation, rule)
    weight_decay = _find_number(choice.params, "weight_decay")
    meaning = _meaning(loaded.spec, choice.params)
    best = Best(
        schema=SCHEMA,
        study=loaded.name,
        rule=rule,
        weight_decay=weight_decay,
        l2_penalty=_l2_penalty(weight_decay, meaning),
        lr=_find_number(choice.params, "lr") or None,
        params=write_params(choice.params),
        params_as_text=find_texts(choice.params),
        pinned=pin,
        meaning=meaning,
        evidence=_evidence(loaded, choice, confirmation),
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
    try:
        trial = loaded.get_trial(number)
    except UsageError as error:
        raise UsageError(f"--pin {number}: {error}; --unpin lets the rule choose again") from error
    if trial.state is not TrialState.COMPLETE:
        raise UsageError(
            f"--pin {number}: trial {number} is {trial.state.name}; only a COMPLETE trial has a "
            "value to stand for it"
        )
    if not loaded.own([trial]):
        raise UsageError(
            f"--pin {number}: another program has put trial {number} into study {loaded.name!r}; "
            "only what was trained in it can be its answer"
        )
    return trial


def _of_trial(
    loaded: LoadedStudy, trial: FrozenTrial, confirmation: Confirmation | None
) -> _Choice:
    """Describe a trial of the search; fresh seeds may have judged its configuration."""
    if reason := find_reason_against_trial(trial):
        raise NoResultError(f"Study {loaded.name!r} has no answer: {reason}")
    # Its value too: the number of a last trial that was deleted is given to the next one.
    is_confirmed = confirmation is not None and (
        (confirmation.search_trial, confirmation.search_value) == (trial.number, trial.value)
    )
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
        by_fold=tuple(trial.user_attrs.get("fold_values", ())),
    )


def _of_rung(
    loaded: LoadedStudy, confirmation: Confirmation, rule: Literal["min", "1se"]
) -> _Choice:
    """Describe the rung that a rule has chosen."""
    rung = confirmation.chosen(rule)
    score = confirmation.test.get(rule)
    return _Choice(
        params={**_find_others(loaded, confirmation), **rung.candidate.params},
        source=rung.candidate.source,
        trial=confirmation.search_trial if rung.candidate.source == "search" else None,
        search_value=confirmation.search_value,
        optimism=confirmation.optimism,
        rung=rung,
        test_accuracy=None if score is None else score.mean,
        test_standard_error=None if score is None else score.standard_error,
        test_n_seeds=0 if score is None else score.n_seeds,
        by_fold=rung.by_fold,
    )


def _find_others(loaded: LoadedStudy, confirmation: Confirmation) -> dict[str, Any]:
    """Return the parameters that old confirmations leave to the best trial."""
    if not confirmation.lacks_others or loaded.spec.facts.can_train_again:
        return {}
    try:
        return loaded.get_trial(confirmation.search_trial).params
    except UsageError as error:
        raise NoResultError(
            f"{error} It held the other parameters that were confirmed: run `tuner confirm` again"
        ) from error


def _find_number(params: Mapping[str, Any], name: str) -> float | None:
    """Return a parameter if it is a number that JSON can hold: a choice may be a text, or None."""
    value = params.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _finite(value) if is_number else None


def _l2_penalty(weight_decay: float | None, meaning: Meaning) -> float | None:
    """Return the textbook's λ, where it is known that there is one."""
    is_known = (meaning.optimizer, meaning.decay) == ("SGD", "coupled")
    return weight_decay / 2 if weight_decay is not None and is_known else None


_PENALTY = "loss + l2_penalty * ||w||^2, with l2_penalty = weight_decay / 2"


def _meaning(spec: Spec, params: Mapping[str, Any]) -> Meaning:
    facts: dict[str, Any] = dict.fromkeys(Meaning.__dataclass_fields__)
    recipe, data = spec.facts.recipe, spec.facts.data
    if recipe is not None and data is not None:
        facts |= asdict(recipe)
        del facts["name"]
        is_penalty = (recipe.optimizer, recipe.decay) == ("SGD", "coupled")
        facts |= {
            "penalty_formula": _PENALTY if is_penalty else None,
            "batch_size": params.get("batch_size", spec.batch_size),
            "momentum": params.get("momentum", recipe.momentum),
            "epochs": spec.epochs,
            "last_batch": spec.fate_of_last_batch,
            "dataset": Dataset(
                name=spec.objective if spec.is_users else spec.dataset,
                split_seed=spec.seed,
                **asdict(data),
            ),
        }
    named = {"objective": spec.objective, "objective_options": spec.objective_options}
    return Meaning(**{**facts, **named})


def _evidence(
    loaded: LoadedStudy,
    choice: _Choice,
    confirmation: Confirmation | None,
) -> Evidence:
    spec, rung, searched = loaded.spec, choice.rung, _find_range(loaded)
    facts = spec.facts
    strength = _find_number(choice.params, facts.strength)
    companion = None if facts.companion is None else _find_number(choice.params, facts.companion)
    companions = None if confirmation is None else confirmation.companions
    verdict = None if confirmation is None else Verdict(**confirmation.verdict.model_dump())
    return Evidence(
        metric=facts.metric.name,
        direction=spec.direction,
        search_value=_finite(choice.search_value),
        mean=None if rung is None else _finite(rung.mean),
        standard_error=None if rung is None else _finite(rung.standard_error),
        n_seeds=0 if rung is None else len(rung.values),
        optimism=_finite(choice.optimism),
        test_accuracy=choice.test_accuracy,
        test_standard_error=choice.test_standard_error,
        test_n_seeds=choice.test_n_seeds,
        n_folds=len(choice.by_fold),
        fold_standard_error=_finite(summarise(list(choice.by_fold))[1]),
        range=None if searched is None else (searched.low, searched.high),
        edge=None if searched is None else _edge(searched, strength),
        verdict=verdict,
        strength=facts.strength,
        companion=facts.companion,
        companion_range=companions,
        companion_edge=_find_end(companions, companion),
        clock=_find_clock(spec, choice.params, confirmation),
    )


def _find_clock(
    spec: Spec, params: Mapping[str, Any], confirmation: Confirmation | None
) -> Clock | None:
    weight_decay, lr = (_find_number(params, name) for name in ("weight_decay", "lr"))
    batch_size = params.get("batch_size", spec.batch_size)
    facts = spec.facts
    if facts.recipe is not None and "momentum" in params:
        facts = replace(facts, recipe=replace(facts.recipe, momentum=params["momentum"]))
    clock = find_clock(facts, weight_decay, lr, batch_size, spec.epochs)
    if clock is None or confirmation is None or confirmation.ridge_slope is None:
        return clock
    slope, *interval = confirmation.ridge_slope
    return replace(clock, ridge_slope=slope, ridge_interval=(interval[0], interval[1]))


@functools.cache
def _versions() -> dict[str, str]:
    """Return the versions of what is installed; reading them costs more than all the rest."""
    return {name: version(name) for name in ("lambda-tuner", "optuna", "torch")}


def _finite(value: float | None) -> float | None:
    """Return a number that JSON and every database can hold; a function's value may be infinite."""
    return None if value is None or not math.isfinite(value) else value


def _find_end(
    bounds: tuple[float, float] | None, value: float | None
) -> Literal["low", "high"] | None:
    if bounds is None or value is None or bounds[0] == bounds[1]:
        return None
    return "low" if value <= bounds[0] else "high" if value >= bounds[1] else None


def _find_range(loaded: LoadedStudy) -> _Range | None:
    """Return where the strength was searched: a function says so trial by trial."""
    facts = loaded.spec.facts
    stated = read_space(facts).get(facts.strength)
    if isinstance(stated, FloatDistribution | IntDistribution):
        return _Range(stated.low, stated.high, stated.log)
    complete = loaded.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    name = facts.strength
    found = [t.distributions[name] for t in complete if name in t.distributions]
    ranges = [d for d in found if isinstance(d, FloatDistribution | IntDistribution)]
    if not ranges:
        return None
    return _Range(
        min(one.low for one in ranges),
        max(one.high for one in ranges),
        is_log=all(one.log for one in ranges),
    )


def _edge(searched: _Range, strength: float | None) -> Literal["low", "high"] | None:
    """Return at which end of the searched range the choice lies, if that can be widened.

    No penalty at all is outside the range, or its end for good.
    """
    if not strength or searched.low == searched.high:
        return None
    scale = math.log if searched.is_log else float
    low, high = scale(searched.low), scale(searched.high)
    position = (scale(strength) - low) / (high - low)
    if position < _EDGE_FRACTION:
        return "low" if searched.low > 0 else None
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
