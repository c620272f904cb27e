"""What came of a study, in lines for people."""

from dataclasses import asdict
from typing import Any

from tuner.answer.best import Best, Clock
from tuner.answer.clock import tell_clock
from tuner.confirmation.values import Confirmation
from tuner.report import format_mean, format_value


def tell_answer(best: Best, confirmation: Confirmation | None) -> list[str]:
    """Return a study's answer: what it exports, and what fresh seeds say, or the search."""
    evidence = best.evidence
    facts = {**best.params}
    if confirmation is None:
        facts[evidence.metric] = evidence.search_value
        if evidence.test_accuracy is not None:
            facts[name_test(evidence.metric)] = evidence.test_accuracy
    lines = [f"  {name:<20} {format_value(value)}" for name, value in facts.items()]
    if confirmation is None:
        return lines
    return [*lines, *tell_confirmation(confirmation, asdict(evidence))]


def name_test(metric: str) -> str:
    """Return what a metric over the validation part is called over the test part."""
    return metric.replace("validation", "test", 1)


def tell_confirmation(
    confirmation: Confirmation, evidence: dict[str, Any] | None = None
) -> list[str]:
    """Return what fresh seeds say: both λ with their errors, the search's optimism, the verdict.

    ``evidence`` is that of the study's answer, for how fast its λ works.
    """
    facts = {
        "λ_min": _tell_choice(confirmation, "min"),
        "λ_1se": _tell_choice(confirmation, "1se"),
        "optimism": _tell_optimism(confirmation),
        "verdict": confirmation.verdict.text,
    }
    if evidence is not None and evidence["companion_edge"]:
        end = {"low": "smallest", "high": "largest"}[evidence["companion_edge"]]
        facts["edge"] = f"this {confirmation.companion} is the {end} that was trained"
    if evidence is not None and evidence["clock"]:
        facts["clock"] = f"λ {tell_clock(Clock(**evidence['clock']))}"
    return [
        f"Confirmed on {len(confirmation.seeds)} fresh seeds (study {confirmation.study})",
        *(f"  {name:<20} {fact}" for name, fact in facts.items()),
    ]


def _tell_choice(confirmation: Confirmation, rule: str) -> str:
    rung = confirmation.chosen("min" if rule == "min" else "1se")
    told = format_value(rung.candidate.strength)
    companion = confirmation.find_companion(rung.candidate)
    if companion is not None:
        told += f" ({confirmation.companion} {format_value(companion)})"
    told += ": " + format_mean(rung.mean, rung.standard_error)
    scores = {str(name): score for name, score in confirmation.test.items()}
    if rule in scores:
        told += f", test {format_mean(scores[rule].mean, scores[rule].standard_error)}"
    return told


def _tell_optimism(confirmation: Confirmation) -> str:
    if confirmation.optimism is None:
        return "unknown: the best trial's configuration was dropped"
    sign = 1 if confirmation.direction == "maximize" else -1
    fresh = confirmation.search_value - sign * confirmation.optimism
    return (
        f"{format_value(confirmation.optimism)}: the search's best value is "
        f"{format_value(confirmation.search_value)}, on fresh seeds about {format_value(fresh)}"
    )
