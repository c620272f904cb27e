"""The note in Markdown that a study carries into the Optuna dashboard: what fresh seeds say of λ.

People may write notes, too: only our own section of a note is ever changed.
"""

from typing import Literal

from tuner.confirmation.values import Confirmation, Rung, Score
from tuner.pictures.axes import format_number

# Definitions of links that nothing refers to: Markdown shows nothing of them. (The dashboard shows
# HTML comments as text.)
_BEGIN = "[//]: # (lambda-tuner: begin)"
_END = "[//]: # (lambda-tuner: end)"

_SOURCES = {"zero": "no penalty", "ladder": "", "search": "best of the search"}


def merge_note(note: str, section: str) -> str:
    """Return a note with our section in place of the one it had, or after what people wrote."""
    before, begin, rest = note.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        before, after = note, ""
    # Without an empty line before them the marks would be shown.
    parts = [before.strip(), _BEGIN, section.strip(), _END, after.strip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_section(confirmation: Confirmation) -> str:
    """Return verdict, chosen λ, optimism, test accuracy and the table of rungs, as Markdown."""
    facts = [_chosen(confirmation, "min"), _chosen(confirmation, "1se"), _optimism(confirmation)]
    rows = [_row(rung, position, confirmation) for position, rung in enumerate(confirmation.rungs)]
    return "\n".join(
        [
            "## Which λ?",
            "",
            f"**{confirmation.verdict.text}**",
            "",
            *(f"- {fact}" for fact in facts if fact),
            "",
            f"Mean ± standard error over {len(confirmation.seeds)} fresh seeds:",
            "",
            _line(
                f"λ ({confirmation.strength})",
                confirmation.companion or "",
                "mean ± se",
                "seeds",
                "",
            ),
            "|---:|---:|---:|---:|---|",
            *rows,
        ]
    )


def _chosen(confirmation: Confirmation, rule: Literal["min", "1se"]) -> str:
    rung = confirmation.chosen(rule)
    test = confirmation.test.get(rule)
    tested = f"; test score {_score(test)}" if test else ""
    companion = confirmation.find_companion(rung.candidate)
    at = "" if companion is None else f" at {confirmation.companion} {format_number(companion)}"
    return f"λ_{rule} = **{format_number(rung.candidate.strength)}**{at}: {_mean(rung)}{tested}"


def _optimism(confirmation: Confirmation) -> str:
    if confirmation.optimism is None:
        return ""
    return (
        f"Optimism of the search: {confirmation.optimism:+.4f} (trial "
        f"{confirmation.search_trial} had {confirmation.search_value:.4f})"
    )


def _row(rung: Rung, position: int, confirmation: Confirmation) -> str:
    rules = {"λ_min": confirmation.lambda_min, "λ_1se": confirmation.lambda_1se}
    remarks = [name for name, chosen in rules.items() if chosen == position]
    remarks += [_SOURCES[rung.candidate.source], "dropped" * rung.is_dropped]
    companion = confirmation.find_companion(rung.candidate)
    return _line(
        format_number(rung.candidate.strength),
        "" if companion is None else format_number(companion),
        _mean(rung),
        len(rung.values),
        ", ".join(filter(None, remarks)),
    )


def _line(*cells: object) -> str:
    """Return a table's line; the dashboard itself leaves no space between columns."""
    return "".join(f"| \N{EN SPACE}{cell} " for cell in cells) + "|"


def _mean(rung: Rung) -> str:
    return "none" if rung.score is None else _score(rung.score)


def _score(score: Score) -> str:
    error = "" if score.standard_error is None else f" ± {score.standard_error:.4f}"
    return f"{score.mean:.4f}{error}"
