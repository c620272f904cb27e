"""What came of a study, in lines for people."""

from tuner.confirmation.values import Confirmation
from tuner.report import format_mean, format_value


def tell_confirmation(confirmation: Confirmation) -> list[str]:
    """Return what fresh seeds say: both λ with their errors, the search's optimism, the verdict."""
    rungs = confirmation.rungs
    n_dropped = sum(rung.is_dropped for rung in rungs)
    dropped = f", {n_dropped} of them dropped early" if n_dropped else ""
    facts = {
        "λ_min": _tell_choice(confirmation, "min"),
        "λ_1se": _tell_choice(confirmation, "1se"),
        "optimism": _tell_optimism(confirmation),
        "verdict": confirmation.verdict.text,
    }
    return [
        f"Confirmed on {len(confirmation.seeds)} fresh seeds: {len(rungs)} candidates{dropped} "
        f"(study {confirmation.study})",
        *(f"  {name:<20} {fact}" for name, fact in facts.items()),
    ]


def _tell_choice(confirmation: Confirmation, rule: str) -> str:
    rung = confirmation.chosen("min" if rule == "min" else "1se")
    candidate = rung.candidate
    told = f"{format_value(candidate.weight_decay)} (lr {format_value(candidate.lr)}): "
    told += format_mean(rung.mean, rung.standard_error)
    scores = {str(name): score for name, score in confirmation.test.items()}
    if rule in scores:
        told += f", test {format_mean(scores[rule].mean, scores[rule].standard_error)}"
    return told


def _tell_optimism(confirmation: Confirmation) -> str:
    own = [rung for rung in confirmation.rungs if rung.candidate.source == "search"]
    if confirmation.optimism is None or not own:
        return "unknown: the best trial's configuration was dropped"
    mean = format_mean(own[0].mean, own[0].standard_error)
    return (
        f"{format_value(confirmation.optimism)}: the search's best value is "
        f"{format_value(confirmation.search_value)}, on fresh seeds {mean}"
    )
