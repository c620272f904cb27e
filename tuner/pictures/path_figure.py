"""Draw the path of λ: what single trainings gave, the surface through them, and the check.

The large panel is the one that λ is chosen by; the small ones at its right tell why.
"""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import plotly.graph_objects as go

from tuner.confirmation.statistics import find_t_quantile
from tuner.confirmation.values import Score
from tuner.pictures.axes import (
    BLUE,
    GREEN,
    TITLES,
    VERMILLION,
    Box,
    LambdaAxis,
    Look,
    Panel,
    Size,
    add_panel,
    bounds_of,
    choice_looks,
    new_figure,
    value_axis,
)
from tuner.pictures.path import LambdaPath, Measure, PathRung

# Of the profile the large panel shows what is no farther from the best than so many times the
# usual training.
_REACH = 6

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

    lines: tuple[_Line, ...]
    box: Box = _LARGE
    y_axis: dict[str, Any] = field(default_factory=dict)


def draw_path(path: LambdaPath, size: Size = "page") -> go.Figure:
    """Return the figure; panels of measures that were not kept are left out."""
    subtitle = f"means with 95 % intervals over {path.n_seeds} fresh seeds; dots: single trainings"
    figure = new_figure(f"Path of λ in {html.escape(path.study)}", subtitle, size)
    small = _small_panels(path)
    strength = path.named.strength
    main = _add(
        figure, path, _large_panel(path, is_alone=not small), TITLES.get(strength, strength)
    )
    _add_search(main, path)
    for panel in small:
        _add(figure, path, panel, strength if panel.box.bottom == 0 else "")
    return figure


def _large_panel(path: LambdaPath, *, is_alone: bool) -> _Panel:
    named = path.named
    line = _Line("value", BLUE, "circle", f"{named.metric}, fresh seeds")
    axis = value_axis(named.metric, is_proportion=named.is_proportion)
    return _Panel((line,), Box() if is_alone else _LARGE, {**axis, "range": _limits(path)})


def _small_panels(path: LambdaPath) -> list[_Panel]:
    """Return the panels for which data was kept, from top to bottom."""
    found, is_proportion = [], path.named.is_proportion
    if path.has("training_value"):
        training = _Line("training_value", VERMILLION, "square", "on training data")
        axis = value_axis("training and validation", is_proportion=is_proportion)
        found.append(_Panel((training, _Line("value", BLUE, "circle")), y_axis=axis))
    if path.has("training_loss"):
        line = _Line("training_loss", VERMILLION, "square")
        found.append(_Panel((line,), y_axis={"title": "training loss", **_loss_axis(path)}))
    if path.has("weight_norm"):
        line = _Line("weight_norm", GREEN, "diamond")
        found.append(_Panel((line,), y_axis={"title": "weight norm ‖w‖"}))
    if _has_zeros(path):
        line = _Line("zero_share", BLUE, "cross")
        axis = {"title": "weights that are 0", "tickformat": ".0%", "rangemode": "tozero"}
        found.append(_Panel((line,), y_axis=axis))
    height = (1 - _SPACE * (len(found) - 1)) / max(1, len(found))
    bottoms = [place * (height + _SPACE) for place in reversed(range(len(found)))]
    boxes = [Box(_LEFT, 1, bottom, bottom + height) for bottom in bottoms]
    return [replace(panel, box=box) for panel, box in zip(found, boxes, strict=True)]


def _has_zeros(path: LambdaPath) -> bool:
    """Tell whether any weight is 0 at any strength."""
    shares = [score.mean for rung in path.rungs if (score := rung.find("zero_share"))]
    return any(shares) or any(each.measures.get("zero_share") for each in path.trained)


def _loss_axis(path: LambdaPath) -> dict[str, Any]:
    """Return a log axis where the loss spans more than a decade."""
    losses = [score.mean for rung in path.rungs if (score := rung.find("training_loss"))]
    losses += [
        each.measures["training_loss"] for each in path.trained if "training_loss" in each.measures
    ]
    if min(losses) > 0 and max(losses) > 10 * min(losses):
        return {"type": "log", "exponentformat": "none", "dtick": 1}
    return {"rangemode": "tozero"}


def _add(figure: go.Figure, path: LambdaPath, shown: _Panel, title: str) -> Panel:
    """Add a panel with its lines, and the chosen λ as vertical lines."""
    chosen = [rung.strength for rung in path.rungs]
    places = [*chosen, *(p.strength for p in path.profile), *(t.strength for t in path.trained)]
    is_log = path.named.has_log_strength
    bounds = bounds_of(places, is_log=is_log)
    axis = LambdaAxis(bounds, has_zero=is_log and 0 in places, title=title, is_log=is_log)
    panel = add_panel(figure, shown.box, {**shown.y_axis}, axis)
    is_main = shown.box.left == 0
    for line in shown.lines:
        _add_dots(panel, path, line)
        _add_means(panel, path, line)
    if is_main and path.profile:
        _add_profile(panel, path)
    for value, look in choice_looks(chosen[path.lambda_min], chosen[path.lambda_1se]):
        panel.mark_lambda(value, look if is_main else replace(look, name=""))
    return panel


def _add_dots(panel: Panel, path: LambdaPath, line: _Line) -> None:
    """Add each training by itself."""
    for at_zero in (False, True):
        own = [
            each
            for each in path.trained
            if panel.holds_zero(each.strength) == at_zero and line.measure in each.measures
        ]
        if own:
            trace = go.Scatter(
                x=_short(each.strength for each in own),
                y=_short(each.measures[line.measure] for each in own),
                mode="markers",
                marker={"color": line.color, "size": 4, "opacity": 0.45},
                hoverinfo="skip",
                showlegend=False,
            )
            panel.add(trace, at_zero=at_zero)


def _add_profile(panel: Panel, path: LambdaPath) -> None:
    """Add the surface's best value at each λ, by which λ was chosen."""
    at_best = f", at its best {path.named.companion}" if path.named.companion else ""
    for at_zero in (False, True):
        points = [point for point in path.profile if panel.holds_zero(point.strength) == at_zero]
        trace = go.Scatter(
            x=_short(point.strength for point in points),
            y=_short(point.value for point in points),
            mode="markers" if at_zero else "lines",
            line={"color": GREEN, "width": 2},
            marker={"color": GREEN, "symbol": "line-ew-open", "size": 16, "line": {"width": 2}},
            name=f"surface{at_best}",
            showlegend=not at_zero,
            hovertemplate="λ %{x:.3g}: %{y:.4g} on the surface<extra></extra>",
        )
        if points:
            panel.add(trace, at_zero=at_zero)


def _add_means(panel: Panel, path: LambdaPath, line: _Line) -> None:
    """Add the means of what was checked with their intervals; of older answers a ladder, joined."""
    measured = [rung for rung in path.rungs if rung.find(line.measure) and rung.source != "search"]
    is_named = False
    for at_zero in (False, True):
        own = [rung for rung in measured if panel.holds_zero(rung.strength) == at_zero]
        if own:
            mode = "lines+markers" if not path.profile and len(own) > 1 else "markers"
            panel.add(_means(own, line, mode, is_named=not is_named), at_zero=at_zero)
            is_named = True


def _means(rungs: list[PathRung], line: _Line, mode: str, *, is_named: bool) -> go.Scatter:
    """Return the means as marks, hollow where dropped, with their seeds to be seen on hovering."""
    scores = [rung.measures[line.measure] for rung in rungs]
    symbols = [line.symbol + "-open" * rung.is_dropped for rung in rungs]
    return go.Scatter(
        x=_short(rung.strength for rung in rungs),
        y=_short(score.mean for score in scores),
        mode=mode,
        name=line.name,
        line={"color": line.color, "width": 2},
        marker={"color": line.color, "symbol": symbols, "size": 9},
        error_y={"array": _short(map(_half_width, scores)), "thickness": 1.5, "width": 5},
        customdata=[
            [
                "" if rung.companion is None else f", {rung.companion:.3g}",
                *_short([score.standard_error or 0]),
                score.n_seeds,
                " (dropped)" * rung.is_dropped,
            ]
            for rung, score in zip(rungs, scores, strict=True)
        ],
        hovertemplate="λ %{x:.3g}%{customdata[0]}<br>%{y:.4g} ± %{customdata[1]:.2g}, "
        "%{customdata[2]} seeds%{customdata[3]}<extra></extra>",
        showlegend=is_named and bool(line.name),
    )


def _half_width(score: Score) -> float:
    """Return half the 95 % interval of a mean; 0 of a single value."""
    if score.standard_error is None:
        return 0.0
    return find_t_quantile(0.975, score.n_seeds - 1) * score.standard_error


def _add_search(panel: Panel, path: LambdaPath) -> None:
    """Add what the search said of its best trial, one lucky draw."""
    panel.mark_height(path.search_value, Look(VERMILLION, "dashdot", 1, "the search's best value"))


def _limits(path: LambdaPath) -> list[float]:
    """Return the y range of the large panel: it is there for the differences that matter."""
    found = [rung.measures["value"] for rung in path.rungs if rung.find("value")]
    ends = [score.mean + side * _half_width(score) for score in found for side in (-1, 1)]
    heights = [point.value for point in path.profile] or [score.mean for score in found]
    best = path.rungs[path.lambda_min].measures["value"]
    values = sorted(abs(each.measures["value"] - best.mean) for each in path.trained)
    reach = values[len(values) // 2] * _REACH if values else math.inf
    ends += [height for height in heights if abs(height - best.mean) <= reach]
    low, high = min(*ends, path.search_value), max(*ends, path.search_value)
    room = 0.05 * (high - low) or 0.01
    return _short([low - room, high + room])


def _short(values: Iterable[float]) -> list[float]:
    """Return numbers as short as a picture needs them: it is kept in the study."""
    return [float(f"{value:.6g}") for value in values]
