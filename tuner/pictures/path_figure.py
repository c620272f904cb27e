"""Draw the path of λ: how accuracies, loss and weight norm change with it, over fresh seeds.

The large panel is the one that λ is chosen by; the small ones at its right tell why.
"""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import plotly.graph_objects as go

from tuner.pictures.axes import (
    BLUE,
    GREEN,
    LAMBDA_TITLE,
    PURPLE,
    VERMILLION,
    Bounds,
    Box,
    LambdaAxis,
    Look,
    Panel,
    Size,
    add_panel,
    bounds_of,
    choice_looks,
    format_number,
    new_figure,
)
from tuner.pictures.path import LambdaPath, Measure, PathRung

# Rungs this many standard errors behind the best leave the large panel through its edge: it is
# there for the differences that matter, and the small ones show the whole.
_MOST_ERRORS_BEHIND = 15

_LARGE = Box(right=0.56)
_LEFT = 0.65  # of the small panels
_SPACE = 0.13  # between two of them, for a title


@dataclass(frozen=True)
class _Line:
    """A measure's line: in what colour, by which mark, under which name in the legend, if any."""

    measure: Measure
    color: str
    symbol: str
    name: str = ""


@dataclass(frozen=True)
class _Panel:
    """What a panel shows; ``y_axis`` is plotly's."""

    title: str
    lines: tuple[_Line, ...]
    box: Box = _LARGE
    y_axis: dict[str, Any] = field(default_factory=dict)


def draw_path(path: LambdaPath, size: Size = "page") -> go.Figure:
    """Return the figure; panels of measures that were not kept are left out."""
    subtitle = f"mean ± standard error over {path.n_seeds} fresh seeds"
    if any(rung.is_dropped for rung in path.rungs):
        subtitle += "; hollow: dropped from the choice"
    figure = new_figure(f"Path of λ in {html.escape(path.study)}", subtitle, size)
    small = _small_panels(path)
    main = _add(figure, path, _large_panel(path, is_zoomed=bool(small)), LAMBDA_TITLE)
    _add_choice(main, path)
    for panel in small:
        _add(figure, path, panel, "weight_decay (λ)" if panel.box.bottom == 0 else "")
    return figure


def _large_panel(path: LambdaPath, *, is_zoomed: bool) -> _Panel:
    line = _Line("value", BLUE, "circle", f"{path.metric}, fresh seeds")
    title = f"{path.metric} (fraction)" if "accuracy" in path.metric else path.metric
    box = _LARGE if is_zoomed else Box()
    return _Panel(title, (line,), box, {"range": _limits(path, is_zoomed=is_zoomed)})


def _small_panels(path: LambdaPath) -> list[_Panel]:
    """Return the panels for which data was kept, from top to bottom."""
    found = []
    if path.has("training_accuracy"):
        training = _Line("training_accuracy", VERMILLION, "square", "training accuracy")
        found.append(
            _Panel("training and validation accuracy", (training, _Line("value", BLUE, "circle")))
        )
    if path.has("training_loss"):
        line = _Line("training_loss", VERMILLION, "square")
        found.append(
            _Panel("training loss (cross-entropy, nats)", (line,), y_axis=_loss_axis(path))
        )
    if path.has("weight_norm"):
        found.append(_Panel("weight norm ‖w‖", (_Line("weight_norm", GREEN, "diamond"),)))
    height = (1 - _SPACE * (len(found) - 1)) / max(1, len(found))
    bottoms = [place * (height + _SPACE) for place in reversed(range(len(found)))]
    boxes = [Box(_LEFT, 1, bottom, bottom + height) for bottom in bottoms]
    return [replace(panel, box=box) for panel, box in zip(found, boxes, strict=True)]


def _loss_axis(path: LambdaPath) -> dict[str, Any]:
    """Return a log axis where the loss spans more than a decade."""
    means = [score.mean for rung in path.rungs if (score := rung.find("training_loss"))]
    if min(means) > 0 and max(means) > 10 * min(means):
        return {"type": "log", "exponentformat": "none", "dtick": 1}
    return {"rangemode": "tozero"}


def _add(figure: go.Figure, path: LambdaPath, shown: _Panel, title: str) -> Panel:
    """Add a panel with its lines, and the chosen λ as vertical lines."""
    strengths = [rung.weight_decay for rung in path.rungs]
    axis = LambdaAxis(bounds_of(strengths), has_zero=0 in strengths, title=title)
    panel = add_panel(figure, shown.box, {"title": shown.title, **shown.y_axis}, axis)
    for line in shown.lines:
        _add_line(panel, path, line)
    for value, look in choice_looks(strengths[path.lambda_min], strengths[path.lambda_1se]):
        is_main = shown.box.left == 0
        panel.mark_lambda(value, look if is_main else replace(look, name=""))
    return panel


def _add_line(panel: Panel, path: LambdaPath, line: _Line) -> None:
    """Add the ladder's means, joined, within their band; and that of λ = 0, by itself."""
    measured = [rung for rung in path.rungs if rung.find(line.measure)]
    ladder = [rung for rung in measured if rung.source == "ladder" and rung.weight_decay > 0]
    if ladder:
        panel.add(_band(ladder, line))
        panel.add(_means(ladder, line, mode="lines+markers", showlegend=bool(line.name)))
        if dropped := [rung for rung in ladder if rung.is_dropped]:
            panel.add(_holes(dropped, line))
    for zero in (rung for rung in measured if rung.weight_decay == 0):
        panel.add(
            _means([zero], line, mode="markers", error_y=_errors([zero], line.measure)),
            at_zero=True,
        )


def _band(rungs: list[PathRung], line: _Line) -> go.Scatter:
    low, high = zip(*(_interval(rung, line.measure) for rung in rungs), strict=True)
    x = _short(rung.weight_decay for rung in rungs)
    return go.Scatter(
        x=[*x, *reversed(x)],
        y=_short([*low, *reversed(high)]),
        fill="toself",
        fillcolor=line.color,
        opacity=0.2,
        mode="none",
        hoverinfo="skip",
        showlegend=False,
    )


def _means(rungs: list[PathRung], line: _Line, **more: Any) -> go.Scatter:
    """Return the means as marks, with their seeds to be seen on hovering."""
    scores = [rung.measures[line.measure] for rung in rungs]
    return go.Scatter(
        x=_short(rung.weight_decay for rung in rungs),
        y=_short(score.mean for score in scores),
        name=line.name,
        line={"color": line.color, "width": 2},
        marker={"color": line.color, "symbol": line.symbol, "size": 8},
        customdata=[
            [
                *_short([rung.lr, score.standard_error or 0]),
                score.n_seeds,
                " (dropped)" * rung.is_dropped,
            ]
            for rung, score in zip(rungs, scores, strict=True)
        ],
        hovertemplate="λ %{x:.3g}, lr %{customdata[0]:.3g}<br>%{y:.4g} ± %{customdata[1]:.2g}, "
        "%{customdata[2]} seeds%{customdata[3]}<extra></extra>",
        **{"showlegend": False, **more},
    )


def _holes(rungs: list[PathRung], line: _Line) -> go.Scatter:
    """Return what makes the marks of dropped rungs hollow."""
    return go.Scatter(
        x=_short(rung.weight_decay for rung in rungs),
        y=_short(rung.measures[line.measure].mean for rung in rungs),
        mode="markers",
        marker={"color": "white", "symbol": line.symbol, "size": 4},
        hoverinfo="skip",
        showlegend=False,
    )


def _errors(rungs: list[PathRung], measure: Measure) -> dict[str, Any]:
    errors = [rung.measures[measure].standard_error or 0 for rung in rungs]
    return {"array": _short(errors), "thickness": 1.5, "width": 5}


def _add_choice(panel: Panel, path: LambdaPath) -> None:
    """Add what λ is chosen by: the best mean less one standard error; and what the search said."""
    best = path.rungs[path.lambda_min].measures["value"]
    margin = (best.standard_error or 0.0) if path.margin is None else path.margin
    side, sign = ("below", -1) if path.direction == "maximize" else ("above", 1)
    threshold = best.mean + sign * margin
    name = f"one standard error {side} the best"
    panel.mark_height(threshold, Look(PURPLE, "dashdot", 1, name))
    for rung in path.by_source("search"):
        name = f"search's best trial (lr {format_number(rung.lr)}), fresh seeds"
        star = _Line("value", VERMILLION, "star", name)
        mean = _means(
            [rung], star, mode="markers", showlegend=True, error_y=_errors([rung], "value")
        )
        mean.marker.size = 13
        panel.add(mean, at_zero=rung.weight_decay == 0)
        panel.add(_search_value(path, rung), at_zero=rung.weight_decay == 0)


def _search_value(path: LambdaPath, rung: PathRung) -> go.Scatter:
    return go.Scatter(
        x=[rung.weight_decay],
        y=_short([path.search_value]),
        mode="markers",
        marker={"symbol": "star-open", "size": 13, "color": VERMILLION, "line": {"width": 1.5}},
        name="its value in the search",
        hovertemplate="λ %{x:.3g}<br>%{y:.4g} in the search<extra></extra>",
    )


def _interval(rung: PathRung, measure: Measure) -> Bounds:
    score = rung.measures[measure]
    error = score.standard_error or 0
    return score.mean - error, score.mean + error


def _limits(path: LambdaPath, *, is_zoomed: bool) -> list[float]:
    """Return the y range of the large panel: λ = 0 and the search's best are always within."""
    needed = [*path.by_source("zero"), *path.by_source("search"), path.rungs[path.lambda_min]]
    ends = [end for rung in needed if rung.find("value") for end in _interval(rung, "value")]
    chosen = path.rungs[path.lambda_min].measures["value"]
    reach = _MOST_ERRORS_BEHIND * (chosen.standard_error or math.inf) if is_zoomed else math.inf
    for rung in path.rungs:
        if rung.find("value"):
            both = _interval(rung, "value")
            ends += [end for end in both if abs(end - chosen.mean) <= reach]
    if path.by_source("search"):
        ends.append(path.search_value)
    low, high = min(ends), max(ends)
    room = 0.05 * (high - low) or 0.01
    return _short([low - room, high + room])


def _short(values: Iterable[float]) -> list[float]:
    """Return numbers as short as a picture needs them: it is kept in the study."""
    return [float(f"{value:.6g}") for value in values]
