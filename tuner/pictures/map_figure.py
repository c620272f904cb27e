"""Draw the map of a search: its trials over λ and learning rate, coloured by value.

Over them lie the rungs that were trained on fresh seeds, and the best trial.
"""

import html
import statistics
from typing import Any

import plotly.graph_objects as go

from tuner.pictures.axes import (
    INK,
    LR_TITLE,
    VERMILLION,
    Box,
    LambdaAxis,
    Panel,
    Size,
    add_panel,
    bounds_of,
    choice_looks,
    log_axis,
    new_figure,
)
from tuner.pictures.path import LambdaMap, LambdaPath, MapPoint, Outcome, PathRung

# The figure that is kept in a study is read with each look at it: see `tuner.pictures.figures`.
_MOST_POINTS: dict[Size, int] = {"page": 20_000, "card": 500}

# By outcome: symbol, size and name.
_MARKS: dict[Outcome, tuple[str, int, str]] = {
    "complete": ("circle", 10, "complete"),
    "pruned": ("triangle-down", 8, "pruned (value when pruned)"),
    "diverged": ("x-thin-open", 8, "diverged"),
}


def draw_map(shown: LambdaMap, path: LambdaPath | None = None, size: Size = "page") -> go.Figure:
    """Return the figure, with the path's rungs over it if there is one.

    Of more trials than people can tell apart, a card shows one of each few, and says so.
    """
    points = _thin_out(shown, _MOST_POINTS[size])
    figure = new_figure(f"Search of {html.escape(shown.study)}", _subtitle(shown, points), size)
    places: list[MapPoint | PathRung] = [*shown.points, *(path.rungs if path else ())]
    strengths = [place.weight_decay for place in places]
    y_axis = log_axis(bounds_of([place.lr for place in places]))
    lambda_axis = LambdaAxis(bounds_of(strengths), has_zero=0 in strengths)
    panel = add_panel(figure, Box(), {"title": LR_TITLE, **y_axis}, lambda_axis)
    for outcome in _MARKS:
        if chosen := [point for point in points if point.outcome == outcome]:
            panel.add(_marks(chosen, outcome))
    if path:
        _add_rungs(panel, path)
    for point in points:
        if point.number == shown.best:
            panel.add(_star(point))
    figure.update_layout(coloraxis=_colors(shown, figure.layout.font.to_plotly_json()))
    return figure


def _thin_out(shown: LambdaMap, most: int) -> list[MapPoint]:
    """Return each n-th trial and the best, if there are more than ``most``."""
    step = -(-len(shown.points) // most)
    kept = {point.number for point in shown.points[::step]} | {shown.best}
    return [point for point in shown.points if point.number in kept]


def _subtitle(shown: LambdaMap, points: list[MapPoint]) -> str:
    n = len(shown.points)
    return f"{n} trials" if n == len(points) else f"{len(points)} of {n} trials"


def _marks(points: list[MapPoint], outcome: Outcome) -> go.Scatter:
    symbol, size, name = _MARKS[outcome]
    marker: dict[str, Any] = {"symbol": symbol, "size": size, "line": {"color": INK, "width": 0.7}}
    if outcome == "diverged":
        marker |= {"color": VERMILLION, "line": {"color": VERMILLION, "width": 2}}
    else:
        marker |= {"color": [_short(point.value) for point in points], "coloraxis": "coloraxis"}
    value = "" if outcome == "diverged" else "<br>%{marker.color:.4g}"
    return go.Scatter(
        x=[_short(point.weight_decay) for point in points],
        y=[_short(point.lr) for point in points],
        mode="markers",
        marker=marker,
        name=name,
        customdata=[[point.number, point.n_epochs] for point in points],
        hovertemplate="trial %{customdata[0]}: λ %{x:.3g}, lr %{y:.3g}"
        f"{value}<br>{outcome}, %{{customdata[1]}} epochs<extra></extra>",
    )


def _star(point: MapPoint) -> go.Scatter:
    return go.Scatter(
        x=[_short(point.weight_decay)],
        y=[_short(point.lr)],
        mode="markers",
        marker={
            "symbol": "star",
            "size": 20,
            "color": [_short(point.value)],
            "coloraxis": "coloraxis",
            "line": {"color": VERMILLION, "width": 2},
        },
        name=f"best trial: {point.number}",
        hovertemplate="trial %{text}: λ %{x:.3g}, lr %{y:.3g}<br>%{marker.color:.4g}"
        "<br>the best of the search<extra></extra>",
        text=[str(point.number)],
    )


def _add_rungs(panel: Panel, path: LambdaPath) -> None:
    """Add the ladder as a line of rungs, λ = 0 in its strip, and rings around the chosen ones."""
    for at_zero in (False, True):
        rungs = [r for r in path.rungs if (r.weight_decay == 0) == at_zero and r.source != "search"]
        if rungs:
            panel.add(
                go.Scatter(
                    x=[rung.weight_decay for rung in rungs],
                    y=[_short(rung.lr) for rung in rungs],
                    mode="markers" if at_zero else "lines+markers",
                    line={"color": INK, "width": 2},
                    marker={"symbol": "square-open", "size": 9, "color": INK, "line": {"width": 2}},
                    name="rungs, trained on fresh seeds",
                    showlegend=not at_zero,
                    hovertemplate="rung: λ %{x:.3g}, lr %{y:.3g}<extra></extra>",
                ),
                at_zero=at_zero,
            )
    strengths = [rung.weight_decay for rung in path.rungs]
    for value, look in choice_looks(strengths[path.lambda_min], strengths[path.lambda_1se]):
        panel.mark_lambda(value, look)


def _colors(shown: LambdaMap, font: dict[str, Any]) -> dict[str, Any]:
    """Return the colour axis; its end for bad values is the worst quarter of complete trials.

    Or else a few bad trials would take all colours but one.
    """
    complete = sorted(_short(p.value) for p in shown.points if p.outcome == "complete")
    title = f"{shown.metric} (fraction)" if "accuracy" in shown.metric else shown.metric
    bar = {"thickness": 16, "title": {"text": title, "side": "right", "font": font}}
    is_upward = shown.direction == "maximize"
    axis = {"colorscale": "Viridis", "reversescale": not is_upward, "colorbar": bar}
    if len(complete) < 4:
        return axis
    first, _, last = statistics.quantiles(complete, n=4)
    low, high = (first, complete[-1]) if is_upward else (complete[0], last)
    if low == high:
        return axis
    ticks = [low + (high - low) * share for share in (0, 0.25, 0.5, 0.75, 1)]
    texts = [f"{tick:.4g}" for tick in ticks]
    worst = 0 if is_upward else -1
    texts[worst] = ("≤ " if is_upward else "≥ ") + texts[worst]
    bar |= {"tickvals": ticks, "ticktext": texts}
    return axis | {"cmin": low, "cmax": high}


def _short(value: float | None) -> float:
    assert value is not None  # diverged trials are drawn without one
    return float(f"{value:.4g}")
