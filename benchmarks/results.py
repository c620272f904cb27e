"""Write what was measured: Markdown for people, JSON with every repetition, a picture."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_line
from benchmarks.section import FIGURE_HEADINGS, Section, markdown_table

FOLDER = Path(__file__).parent / "results"
# Around what a page of docs quotes.
QUOTE_BEGIN, QUOTE_END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
QUOTED = ("lanes",)


@dataclass(frozen=True)
class Results:
    """Everything measured in one run, by the benchmarks' names."""

    command: str
    is_quick: bool
    machine: dict[str, Any]
    databases: dict[str, str]  # versions
    seconds: float
    sections: dict[str, Section]


def write_results(results: Results, folder: Path, name: str) -> list[Path]:
    """Write the files of this name; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{name}.png"
    files = [folder / f"{name}.md", folder / f"{name}.json"]
    if "lanes" in results.sections:
        # Not sooner: it imports torch, and every process of a pool imports what `__main__` does.
        from benchmarks.plot import draw_lanes

        draw_lanes(results.sections["lanes"].raw, picture)
        files.append(picture)
    files[0].write_text(_markdown(results, picture.name))
    files[1].write_text(json.dumps(_document(results), indent=1) + "\n")
    return files


def _markdown(results: Results, picture: str) -> str:
    quoted = [section for name, section in results.sections.items() if name in QUOTED]
    others = [section for name, section in results.sections.items() if name not in QUOTED]
    blocks = ["# Benchmarks", QUOTE_BEGIN, *_opening(results)]
    for section in quoted:
        blocks += [f"{section.title}. {section.note}", _table(section)]
    blocks.append(QUOTE_END)
    for section in others:
        blocks += [f"## {section.title}", section.note, _table(section)]
    if "lanes" in results.sections:
        blocks.append(f"![Seconds an epoch and model by number of lanes]({picture})")
    return "\n\n".join(blocks) + "\n"


def _opening(results: Results) -> list[str]:
    """Return the command, the machine, and the figures beside their aims."""
    line = (
        f"`{results.command}`, {results.seconds / 60:.0f} min, "
        f"{machine_line(results.machine, results.databases)}."
    )
    if results.is_quick:
        line += " Quick: small parts, measured few times; the aims are meant for a full run."
    figures = [figure.row for section in results.sections.values() for figure in section.figures]
    return [line, markdown_table(FIGURE_HEADINGS, figures)] if figures else [line]


def _table(section: Section) -> str:
    return markdown_table(section.headings, section.rows)


def _document(results: Results) -> dict[str, Any]:
    return {
        "command": results.command,
        "seconds": round(results.seconds, 1),
        "machine": results.machine,
        "databases": results.databases,
        "figures": [
            {"name": f.name, "value": f.value, "unit": f.unit.strip(), "aim": f.aim,
             "at_least": f.at_least, "is_reached": f.is_reached}
            for section in results.sections.values() for f in section.figures
        ],
        "measurements": {name: section.raw for name, section in results.sections.items()},
    }  # fmt: skip


def find_quote(text: str) -> str:
    """Return what stands between the markers, markers included."""
    begin, end = text.index(QUOTE_BEGIN), text.index(QUOTE_END)
    return text[begin : end + len(QUOTE_END)]
