"""The pictures of a study: written to files, and kept in the study for the Optuna dashboard."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import plotly.graph_objects as go
from optuna_dashboard import get_note, save_note, save_plotly_graph_object

from tuner.confirmation.values import Confirmation
from tuner.errors import NoResultError
from tuner.pictures.browser import draw_in_browser
from tuner.pictures.map_figure import draw_map
from tuner.pictures.note import merge_note, write_section
from tuner.pictures.path import LambdaMap, LambdaPath, build_map, build_path
from tuner.pictures.path_figure import draw_path
from tuner.study import LoadedStudy

logger = logging.getLogger(__name__)

Format = Literal["html", "png", "svg"]
FORMATS: tuple[Format, ...] = get_args(Format)

# A figure's name: in the files' names, and as the dashboard's id of it.
Name = Literal["path", "map"]
_GRAPH_IDS: dict[Name, str] = {"path": "lambda-path", "map": "lambda-map"}

_WIDTH, _HEIGHT = 1200, 750  # pixels, of an SVG; a PNG has twice as many each way
_PNG_SCALE = 2


def draw(path: LambdaPath | None, trials: LambdaMap | None) -> dict[Name, go.Figure]:
    """Return the figures for pages and files; the map has the path over it, if both are given."""
    figures: dict[Name, go.Figure] = {}
    if path is not None:
        figures["path"] = draw_path(path)
    if trials is not None:
        figures["map"] = draw_map(trials, path)
    return figures


def write_pages(figures: Mapping[Name, go.Figure], folder: Path, study: str) -> list[Path]:
    """Write each figure as ``STUDY-FIGURE.html``, a page that works offline; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in figures.items():
        files.append(_file(folder, study, name, "html"))
        figure.write_html(
            files[-1],
            include_plotlyjs=True,  # 5 MB
            default_width="100%",
            default_height="96vh",
            config={"responsive": True, "displaylogo": False},
        )
    return files


def render(
    figures: Mapping[Name, go.Figure], formats: Sequence[Format], folder: Path, study: str
) -> list[Path]:
    """Let a browser draw each figure as ``STUDY-FIGURE.png`` or ``.svg``; return the files.

    Raises PicturesError as ``draw_in_browser``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    specs = [
        _spec(figure, _file(folder, study, name, suffix), suffix)
        for name, figure in figures.items()
        for suffix in formats
    ]
    draw_in_browser(specs)
    return [Path(spec["path"]) for spec in specs]


def _file(folder: Path, study: str, name: Name, suffix: Format) -> Path:
    stem = re.sub(r"[^\w.-]", "_", study)  # a study's name may hold slashes
    return folder / f"{stem}-{name}.{suffix}"


def _spec(figure: go.Figure, file: Path, suffix: Format) -> dict[str, Any]:
    scale = _PNG_SCALE if suffix == "png" else 1
    options = {"format": suffix, "width": _WIDTH, "height": _HEIGHT, "scale": scale}
    return {"fig": json.loads(figure.to_json()), "path": str(file), "opts": options}


def keep_in_study(loaded: LoadedStudy, confirmation: Confirmation) -> None:
    """Keep both figures and a note in the searched study, where the Optuna dashboard shows them.

    Safe to repeat: they replace those kept before. Of a note only our own section is touched.
    """
    path = build_path(loaded, confirmation)
    figures: dict[Name, go.Figure] = {"path": draw_path(path, "card")}
    try:
        figures["map"] = draw_map(build_map(loaded), path, "card")
    except NoResultError as error:  # a function with other parameters
        logger.info("%s", error)
    for name, figure in figures.items():
        save_plotly_graph_object(loaded.study, figure, graph_object_id=_GRAPH_IDS[name])
    note = get_note(loaded.study)
    merged = merge_note(note, write_section(confirmation))
    if merged != note:
        save_note(loaded.study, merged)
