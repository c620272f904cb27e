"""What a benchmark hands back: a table, the figures that were aimed at, and the raw data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured figure beside what was aimed at: at least or at most ``aim``."""

    name: str
    value: float
    unit: str
    aim: float
    at_least: bool
    spread: str = ""

    @property
    def is_reached(self) -> bool:
        """Tell whether the figure is as good as what was aimed at."""
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    @property
    def row(self) -> list[str]:
        """The figure as cells: name, measured, aimed at, reached."""
        relation = "at least" if self.at_least else "at most"
        measured = f"{self.value:.3g}{self.unit}" + (f" ({self.spread})" if self.spread else "")
        return [
            self.name,
            measured,
            f"{relation} {self.aim:g}{self.unit}",
            "yes" if self.is_reached else "no",
        ]


FIGURE_HEADINGS = ("figure", "measured", "aim", "reached")


@dataclass(frozen=True)
class Section:
    """What one benchmark has measured."""

    title: str
    note: str  # how it was measured, in Markdown
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[Figure] = ()
    raw: dict[str, Any] = field(default_factory=dict)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: text to the left, numbers to the right."""
    aligned = [
        "---:" if all(_is_number(row[column]) for row in rows) else "---"
        for column in range(len(headings))
    ]
    lines = [headings, aligned, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or cell[0].isdigit()
