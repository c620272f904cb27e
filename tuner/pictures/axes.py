"""What the pictures have in common: looks, and a log axis of λ with a place for λ = 0 at its left.

A log axis has no 0, so the place is an axis of its own, a narrow strip before a break.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import plotly.graph_objects as go

# Okabe and Ito's colours, which people with colour blindness can tell apart.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"
INK, GRID = "#222222", "#E4E4E4"

# What people call the parameters that torch's optimizers have; others are called by their names.
TITLES = {"weight_decay": "weight_decay (λ, torch's argument)", "lr": "learning rate"}

# A whole page or file, or a card of the dashboard: 450 pixels high, about as wide as that.
Size = Literal["page", "card"]
_FONT_SIZES: dict[Size, int] = {"page": 16, "card": 12}

_STRIP, _GAP = 0.09, 0.035  # shares of a panel's width

Bounds = tuple[float, float]

_LINES = {
    "showgrid": True,
    "gridcolor": GRID,
    "zeroline": False,
    "linecolor": INK,
    "ticks": "outside",
    "tickcolor": INK,
}


@dataclass(frozen=True)
class Box:
    """A part of a figure, in shares of its width and height, from its lower left corner."""

    left: float = 0.0
    right: float = 1.0
    bottom: float = 0.0
    top: float = 1.0


@dataclass(frozen=True)
class LambdaAxis:
    """What an axis of λ spans, whether λ = 0 has a place of its own, and its title.

    Without a title there are no numbers.
    """

    bounds: Bounds
    has_zero: bool
    title: str
    is_log: bool = True


@dataclass(frozen=True)
class Look:
    """How a line looks, and its name in the legend, if any."""

    color: str
    dash: str
    width: float
    name: str = ""


@dataclass(frozen=True)
class Panel:
    """A place in a figure: a log axis of λ, a y axis, and the strip for λ = 0 if there is one.

    Axes are numbered as plotly does; ``strip`` is the number of the strip's x axis.
    """

    figure: go.Figure
    x: int
    y: int
    strip: int | None

    def add(self, trace: Any, *, at_zero: bool = False) -> None:
        """Add a trace, to the strip if it is for λ = 0."""
        number = self.strip if at_zero else self.x
        trace.update(xaxis=_axis("x", number), yaxis=_axis("y", self.y))
        self.figure.add_trace(trace)

    def holds_zero(self, strength: float) -> bool:
        """Tell whether a strength belongs into the strip."""
        return self.strip is not None and strength == 0

    def mark_lambda(self, value: float, look: Look) -> None:
        """Mark a λ by a vertical line."""
        x = self.strip if self.holds_zero(value) else self.x
        self._add_line(look, (value, value), (0, 1), _axis("x", x), f"{_axis('y', self.y)} domain")

    def mark_height(self, value: float, look: Look) -> None:
        """Mark a value by a horizontal line."""
        y = _axis("y", self.y)
        self._add_line(look, (0, 1), (value, value), f"{_axis('x', self.x)} domain", y)
        if self.strip:
            own = f"{_axis('x', self.strip)} domain"
            self._add_line(replace(look, name=""), (0, 1), (value, value), own, y)

    def _add_line(self, look: Look, x: Bounds, y: Bounds, xref: str, yref: str) -> None:
        self.figure.add_shape(
            type="line",
            x0=x[0],
            x1=x[1],
            y0=y[0],
            y1=y[1],
            xref=xref,
            yref=yref,
            layer="below",
            line={"color": look.color, "dash": look.dash, "width": look.width},
            name=look.name,
            showlegend=bool(look.name),
        )


def _axis(letter: str, number: int | None) -> str:
    assert number is not None  # who has λ = 0 asks for a strip
    return letter if number == 1 else f"{letter}{number}"


def new_figure(title: str, subtitle: str, size: Size) -> go.Figure:
    """Return an empty figure on a light ground, whatever the page around it."""
    font_size = _FONT_SIZES[size]
    figure = go.Figure()
    figure.update_layout(
        template=None,  # plotly's own takes 7 kB
        title={
            "text": f"<b>{title}</b>  <span style='font-size:{font_size}px'>{subtitle}</span>",
            "font": {"size": round(font_size * 1.2)},
            "x": 0.015,
            "y": 0.97,
            "yanchor": "top",
        },
        font={"size": font_size, "color": INK, "family": "Arial, Helvetica, sans-serif"},
        paper_bgcolor="white",
        plot_bgcolor="white",
        hoverlabel={"font": {"size": font_size}},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -0.17, "yanchor": "top"},
        margin={"l": 4.2 * font_size, "r": 1.6 * font_size, "t": 4.8 * font_size, "b": font_size},
    )
    return figure


def add_panel(
    figure: go.Figure, box: Box, y_axis: dict[str, Any], lambda_axis: LambdaAxis
) -> Panel:
    """Add a panel that fills a box of the figure; ``y_axis`` is plotly's, its title goes on top."""
    y, x = _count(figure, "yaxis") + 1, _count(figure, "xaxis") + 1
    strip = x + 1 if lambda_axis.has_zero else None
    width = box.right - box.left
    begin = box.left + width * (_STRIP + _GAP) if strip else box.left
    title, font = y_axis.pop("title"), figure.layout.font.to_plotly_json()
    shared = {**_LINES, "anchor": _axis("y", y), "showticklabels": bool(lambda_axis.title)}
    layout = {
        _key("xaxis", x): {
            **make_axis(lambda_axis.bounds, is_log=lambda_axis.is_log),
            **shared,
            "domain": [begin, box.right],
            **({"tickformat": ".0e"} if lambda_axis.is_log else {}),
            "title": {"text": lambda_axis.title, "standoff": 8, "font": font},
        },
        _key("yaxis", y): {
            **_LINES,
            "domain": [box.bottom, box.top],
            "anchor": _axis("x", strip or x),
            **y_axis,
        },
    }
    if strip:
        layout[_key("xaxis", strip)] = {
            **shared,
            "domain": [box.left, box.left + width * _STRIP],
            "range": [-1, 1],
            "tickvals": [0],
            "ticktext": ["0"],
        }
        middle = box.left + width * (_STRIP + _GAP / 2)
        figure.add_annotation(
            _text_at(middle, box.bottom, "//"), xanchor="center", yanchor="middle"
        )
    figure.update_layout(layout)
    figure.add_annotation(_text_at(box.left, box.top, title), xanchor="left", yanchor="bottom")
    return Panel(figure, x, y, strip)


def _text_at(x: float, y: float, text: str) -> dict[str, Any]:
    """Return a text at a point given in shares of the figure's width and height."""
    return {
        "text": text,
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "bgcolor": "white",
        "borderpad": 0,
        "showarrow": False,
    }


def _count(figure: go.Figure, kind: str) -> int:
    return sum(name.startswith(kind) for name in figure.layout.to_plotly_json())


def _key(axis: str, number: int) -> str:
    return axis if number == 1 else f"{axis}{number}"


def make_axis(bounds: Bounds, *, is_log: bool) -> dict[str, Any]:
    """Return an axis over these bounds with a little room."""
    if is_log:
        return log_axis(bounds)
    room = 0.03 * (bounds[1] - bounds[0]) or 0.01
    return {"range": [bounds[0] - room, bounds[1] + room]}


def log_axis(bounds: Bounds) -> dict[str, Any]:
    """Return a log axis over these bounds with a little room: a tick a decade, if there are two."""
    low, high = (math.log10(bound) for bound in bounds)
    room = max(0.03 * (high - low), 0.01)
    return {
        "type": "log",
        "range": [round(low - room, 4), round(high + room, 4)],
        "dtick": 1 if high - low >= 2 else "D2",
        "exponentformat": "none",
        "minor": {"ticks": "outside", "ticklen": 2, "tickcolor": INK, "dtick": "D1"},
    }


def choice_looks(lambda_min: float, lambda_1se: float) -> list[tuple[float, Look]]:
    """Return the chosen λ with the looks of their lines; one line where both rules agree."""
    names = "λ<sub>min</sub>", "λ<sub>1se</sub>"
    if lambda_min == lambda_1se:
        name = f"{names[0]} = {names[1]} = {format_number(lambda_min)}"
        return [(lambda_min, Look(INK, "dot", 2, name))]
    return [
        (lambda_min, Look(INK, "dot", 2, f"{names[0]} = {format_number(lambda_min)}")),
        (lambda_1se, Look(PURPLE, "dash", 2, f"{names[1]} = {format_number(lambda_1se)}")),
    ]


def bounds_of(values: Sequence[float], *, is_log: bool = True) -> Bounds:
    """Return the lowest and highest of values, on a log axis of the positive ones."""
    known = [value for value in values if value > 0 or not is_log]
    return min(known, default=1e-5), max(known, default=1e-2)


def value_axis(metric: str, *, is_proportion: bool) -> dict[str, Any]:
    """Return title and ticks of an axis of values: percent for proportions alone."""
    return {"title": metric, **({"tickformat": ".4~%"} if is_proportion else {})}


def format_number(value: float) -> str:
    """Return e.g. ``0``, ``0.0024`` or ``2.4e-5``, as people write a λ."""
    return f"{value:.3g}".replace("e-0", "e-")
