"""The picture: seconds an epoch and model against the number of lanes."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks.ways import BY_HAND, IN_MEMORY, ONE_BY_ONE, STACKED, TEXTBOOK

# Colour, marker, a shift that keeps spreads apart, and whether the name stands above the line.
_SERIES = {STACKED: ("#c25400", "s", 0.98, True), BY_HAND: ("#1b62a5", "o", 1.02, False)}
_LINES = {TEXTBOOK: ":", IN_MEMORY: "--", ONE_BY_ONE: "-."}
_GREY = "#444444"


def draw_lanes(raw: dict[str, Any], file: Path) -> None:
    """Write the picture of what ``benchmarks.lanes`` has measured, as the file's name says."""
    mpl.rcParams.update({"font.size": 16})
    figure = Figure(figsize=(12, 6.2), layout="constrained")
    axes = figure.subplots()
    for name, style in _LINES.items():
        ways = [way for way in raw["ways"] if way["way"] == name and way["threads"] == 1]
        _draw_level(axes, name, ways[0]["seconds"]["median"], style)
    _draw_level(axes, "matrix products alone", raw["limit_seconds"], "-")
    for name in _SERIES:
        _draw_series(axes, [way for way in raw["ways"] if way["way"] == name], name)
    _label_axes(axes)
    figure.savefig(file, dpi=110)


def _draw_series(axes: Axes, ways: list[dict[str, Any]], name: str) -> None:
    colour, marker, shift, above = _SERIES[name]
    lanes = [way["lanes"] * shift for way in ways]
    spreads = [way["seconds"] for way in ways]
    medians = [spread["median"] for spread in spreads]
    errors = [
        [spread["median"] - spread["min"] for spread in spreads],
        [spread["max"] - spread["median"] for spread in spreads],
    ]
    axes.errorbar(
        lanes, medians, yerr=errors, color=colour,
        marker=marker, markersize=9, linewidth=2.5, elinewidth=1.5, capsize=4,
    )  # fmt: skip
    axes.annotate(
        name, (lanes[1], medians[1]), xytext=(0, 14 if above else -14),
        textcoords="offset points", va="bottom" if above else "top", color=colour,
        fontweight="bold", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _draw_level(axes: Axes, name: str, seconds: float, style: str) -> None:
    axes.axhline(seconds, color=_GREY, linestyle=style, linewidth=1.8)
    axes.annotate(
        f"{name}, {seconds:.2f} s", (1.0, seconds), xycoords=("axes fraction", "data"),
        xytext=(6, 0), textcoords="offset points", va="center", color=_GREY, fontsize=14,
    )  # fmt: skip


def _label_axes(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 4, 8, 16, 32]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_plainly)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_locator(FixedLocator([0.125, 0.25, 0.5, 1, 2, 4, 8, 16]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(_plainly)
    axes.margins(y=0.08)
    axes.set_xlabel("lanes: models trained side by side")
    axes.set_ylabel("seconds an epoch and model")
    axes.grid(visible=True, color="#e4e4e4")


def _plainly(value: float, _position: float) -> str:
    return f"{value:g}"
