"""Draw the map of a search: its trials over λ and learning rate, coloured by value.

Over them lies what was trained on fresh seeds, what of it was checked, and the best trial.
"""

import html
import statistics
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tuner.pictures.axes import (
    INK,
    TITLES,
    VERMILLION,
    Box,
    LambdaAxis,
    Panel,
    Size,
    add_panel,
    bounds_of,
    choice_looks,
    make_axis,
    new_figure,
)
from tuner.pictures.path import LambdaMap, LambdaPath, MapPoint, Outcome, PathRung, Trained

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
    places: list[MapPoint | PathRung | Trained] = [*shown.points, *(path.rungs if path else ())]
    places += path.trained if path else ()
    named = shown.named
    strengths, is_log = [place.strength for place in places], named.has_log_strength
    companions = [place.companion for place in places if place.companion is not None]
    bounds = bounds_of(companions, is_log=named.has_log_companion)
    y_axis = make_axis(bounds, is_log=named.has_log_companion)
    lambda_axis = LambdaAxis(
        bounds_of(strengths, is_log=is_log),
        has_zero=is_log and 0 in strengths,
        title=TITLES.get(named.strength, named.strength),
        is_log=is_log,
    )
    companion = named.companion or ""  # a map has one: see `build_map`
    title = TITLES.get(companion, companion)
    panel = add_panel(figure, Box(), {"title": title, **y_axis}, lambda_axis)
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
        x=[_short(point.strength) for point in points],
        y=[_short(point.companion) for point in points],
        mode="markers",
        marker=marker,
        name=name,
        customdata=[[point.number, point.n_epochs] for point in points],
        hovertemplate="trial %{customdata[0]}: λ %{x:.3g}, %{y:.3g}"
        f"{value}<br>{outcome}, %{{customdata[1]}} epochs<extra></extra>",
    )


def _star(point: MapPoint) -> go.Scatter:
    return go.Scatter(
        x=[_short(point.strength)],
        y=[_short(point.companion)],
        mode="markers",
        marker={
            "symbol": "star",
            "size": 20,
            "color": [_short(point.value)],
            "coloraxis": "coloraxis",
            "line": {"color": VERMILLION, "width": 2},
        },
        name=f"best trial: {point.number}",
        hovertemplate="trial %{text}: λ %{x:.3g}, %{y:.3g}<br>%{marker.color:.4g}"
        "<br>the best of the search<extra></extra>",
        text=[str(point.number)],
    )


def _add_rungs(panel: Panel, path: LambdaPath) -> None:
    """Add what fresh seeds trained as dots, what was checked as squares, and the chosen λ."""
    checked = {(rung.strength, rung.companion) for rung in path.rungs}
    trained = {(each.strength, each.companion) for each in path.trained} - checked
    _add_places(panel, sorted(trained, key=str), "trained on fresh seeds", "circle-open", 5)
    _add_places(panel, sorted(checked, key=str), "checked on others", "square-open", 12)
    strengths = [rung.strength for rung in path.rungs]
    for value, look in choice_looks(strengths[path.lambda_min], strengths[path.lambda_1se]):
        panel.mark_lambda(value, look)


def _add_places(
    panel: Panel,
    places: Sequence[tuple[float, float | None]],
    name: str,
    symbol: str,
    size: int,
) -> None:
    is_named = False
    for at_zero in (False, True):
        own = [place for place in places if panel.holds_zero(place[0]) == at_zero]
        if not own:
            continue
        trace = go.Scatter(
            x=[_short(strength) for strength, _ in own],
            y=[companion for _, companion in own],
            mode="markers",
            marker={"symbol": symbol, "size": size, "color": INK, "line": {"width": 1.5}},
            name=name,
            showlegend=not is_named,
            hovertemplate=f"{name}: λ %{{x:.3g}}, %{{y:.3g}}<extra></extra>",
        )
        panel.add(trace, at_zero=at_zero)
        is_named = True


def _colors(shown: LambdaMap, font: dict[str, Any]) -> dict[str, Any]:
    """Return the colour axis; its end for bad values is the worst quarter of complete trials.

    Or else a few bad trials would take all colours but one.
    """
    complete = sorted(_short(p.value) for p in shown.points if p.outcome == "complete")
    named = shown.named
    bar = {"thickness": 16, "title": {"text": named.metric, "side": "right", "font": font}}
    bar |= {"tickformat": ".4~%"} if named.is_proportion else {}
    is_upward = shown.direction == "maximize"
    axis = {"colorscale": "Viridis", "reversescale": not is_upward, "colorbar": bar}
    if len(complete) < 4:
        return axis
    first, _, last = statistics.quantiles(complete, n=4)
    low, high = (first, complete[-1]) if is_upward else (complete[0], last)
    if low == high:
        return axis
    ticks = [low + (high - low) * share for share in (0, 0.25, 0.5, 0.75, 1)]
    texts = [f"{tick:.2%}" if named.is_proportion else f"{tick:.4g}" for tick in ticks]
    worst = 0 if is_upward else -1
    texts[worst] = ("≤ " if is_upward else "≥ ") + texts[worst]
    bar |= {"tickvals": ticks, "ticktext": texts}
    return axis | {"cmin": low, "cmax": high}


def _short(value: float | None) -> float:
    assert value is not None  # diverged trials are drawn without one
    return float(f"{value:.4g}")
