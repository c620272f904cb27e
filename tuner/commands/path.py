"""`tuner path`: the pictures of a study's λ as files, and the numbers behind them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.commands import answer_options, options
from tuner.commands.printing import tell
from tuner.errors import PicturesError, UsageError
from tuner.plain import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import plotly.graph_objects as go

    from tuner.pictures.figures import Format, Name


@options.with_study
def path(
    storage: str,
    study: str,
    output_dir: answer_options.OutputDir = Path(),
    formats: answer_options.PictureFormats = None,
    only: answer_options.Only = None,
    as_json: options.Json = False,
) -> None:
    """Draw accuracy, loss and weight norm along λ, and the map of the search."""
    from tuner.pictures.figures import draw
    from tuner.pictures.path import as_document, build_map, build_path, get_confirmation
    from tuner.selection import find_confirmation
    from tuner.study import load_study_to_read

    if only not in (None, "path", "map"):
        raise UsageError(f"--only {only}: choose path or map, or leave it out for both")
    chosen = _formats(formats)
    loaded = load_study_to_read(storage, study)
    confirmation = find_confirmation(loaded) if only == "map" else get_confirmation(loaded)
    path = None if confirmation is None else build_path(loaded, confirmation)
    # Without a companion there is no map, and `build_map` says so if it is asked for by name.
    has_companion = confirmation is None or confirmation.companion is not None
    has_map = only == "map" or (only is None and has_companion)
    trials = build_map(loaded) if has_map else None
    figures = draw(path, trials)
    if only:
        figures = {name: figure for name, figure in figures.items() if name == only}
    files = _write(figures, chosen, output_dir, study, must_render=formats is not None)
    document = {} if path is None else as_document(path)
    lines = [f"Written to {file}" for file in files]
    tell({**document, "files": [str(file) for file in files]}, *lines, as_json=as_json)


def _formats(text: str | None) -> "tuple[Format, ...]":
    from tuner.pictures.figures import FORMATS

    if text is None:
        return FORMATS
    asked = {name.strip().lower() for name in text.split(",")}
    if not asked <= set(FORMATS):
        raise UsageError(f"--format {text}: choose from {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in asked)


def _write(
    figures: "Mapping[Name, go.Figure]",
    formats: "Sequence[Format]",
    folder: Path,
    study: str,
    *,
    must_render: bool,
) -> list[Path]:
    """Write pages first; what needs a browser is left out with a line, unless it was asked for."""
    from tuner.pictures.figures import render, write_pages

    files = write_pages(figures, folder, study) if "html" in formats else []
    rendered: list[Format] = [name for name in formats if name != "html"]
    if not rendered:
        return files
    try:
        return files + render(figures, rendered, folder, study)
    except PicturesError as error:
        if must_render:
            raise
        show(f"tuner: {error}; the pages are complete without", file=sys.stderr)
        return files
