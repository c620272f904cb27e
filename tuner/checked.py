"""What `tuner check` has seen of a problem, in words."""

import math
from collections.abc import Mapping
from itertools import starmap
from typing import Any

from optuna.distributions import FloatDistribution
from pydantic import TypeAdapter

from objectives import Facts
from tuner.answer.clock import find_clock, tell_mean
from tuner.ranges import tell_range
from tuner.space import read_space

_N_TRIALS = 50


def describe(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what an ``objectives.checking.Check``, as JSON, says to people, by topic."""
    facts = found["description"]["facts"]
    data, recipe, metric = facts["data"], facts["recipe"], facts["metric"]
    lines = {
        "model": recipe["model"],
        "parameters": f"{found['n_parameters']:,}, of which {found['n_decaying']:,} decay",
        "data": (
            f"{data['n_train']:,} train, {data['n_validation']:,} validate, {data['n_test']:,} test"
        ),
        "metric": f"{metric['name']}, {metric['direction']}",
        "searched": ", ".join(starmap(tell_range, facts["space"].items())),
        **_tell_training(recipe),
        "program": f"{found['program']}; {_round(found['seconds'])} an epoch and trial",
        "memory a trial": f"{found['bytes_a_lane'] / 2**20:.1f} MiB, and what a batch takes",
    }
    if rest := data["n_train"] % found["description"]["batch_size"]:
        lines["last batch"] = _tell_last_batch(rest, found["description"])
    if found["scale_invariant"]:
        names = ", ".join(found["scale_invariant"])
        lines["scale-free"] = f"{names}: the output does not show their scale, λ only sets their lr"
    lines |= _tell_clocks(found["description"])
    seconds = found["seconds"] * found["description"]["epochs"] * _N_TRIALS
    lines["study"] = (
        f"{_N_TRIALS} trials take about {_round(seconds)} of one processor, less by pruning"
    )
    return lines


def _tell_training(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Say what differs from plain SGD with weight decay."""
    told = {"penalties": recipe["penalties"], "training": recipe["details"]}
    return {topic: text for topic, text in told.items() if text is not None}


def _tell_last_batch(rest: int, description: Mapping[str, Any]) -> str:
    size = description["batch_size"]
    match description["last_batch"]:
        case "drop":
            return f"{rest} of {size} examples are left over: dropped, others in each epoch"
        case "scale":
            return f"{rest} of {size} examples: their gradient counts by their number"
        case _:
            return (
                f"{rest} of {size} examples: each counts {size / rest:.1f} times, as the last step "
                "before the metric is measured; --last-batch drop leaves them out"
            )


def _tell_clocks(description: Mapping[str, Any]) -> dict[str, str]:
    """Say for both ends of λ's range, at the middle lr, in what time it forgets."""
    facts = TypeAdapter(Facts).validate_python(description["facts"])
    space = read_space(facts)
    decay, lr = (space.get(name) for name in ("weight_decay", "lr"))
    if not isinstance(decay, FloatDistribution) or not isinstance(lr, FloatDistribution):
        return {}
    epochs, rate = description["epochs"], math.sqrt(lr.low * lr.high)
    texts, mean = [], ""
    for weight_decay in (decay.low, decay.high):
        clock = find_clock(facts, weight_decay, rate, description["batch_size"], epochs)
        if clock is None:
            return {}
        mean = tell_mean(clock)
        texts.append(f"λ = {weight_decay:g} forgets in {clock.tau_epochs:.3g} epochs")
    return {"clock": f"at lr {rate:.2g}{mean} {', '.join(texts)}; you train {epochs}"}


def _round(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
