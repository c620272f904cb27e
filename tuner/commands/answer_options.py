"""The options of what becomes of a search: confirmation, pictures and export."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.commands.options import option

Confirm = Annotated[
    bool,
    option(
        "--confirm/--no-confirm",
        "Confirm λ on fresh seeds at the end, or leave that out.",
        show_default="on",
    ),
]
Seeds = Annotated[
    int | None,
    option(
        "--seeds",
        "Fresh seeds that choose λ, but two more, and others that check it.",
        metavar="N",
        min=2,
        max=1000,
        show_default="8",
    ),
]
Rule = Annotated[
    str | None,
    option(
        "--rule",
        "Which λ: best, of the search; min or 1se, of fresh seeds.",
        metavar="NAME",
        show_default="1se once confirmed, else best",
    ),
]
Format = Annotated[
    str,
    option(
        "--format",
        "json, yaml, toml, env or python; lines for torch, keras, optax or sklearn.",
        metavar="NAME",
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        envvar="TUNER_EXPORT_OPTIMIZER",  # that of a search is TUNER_OPTIMIZER
        help="Of the lines for a framework: sgd, adam or adamw.",
        metavar="NAME",
        show_default="sgd",
    ),
]
Force = Annotated[
    bool,
    option("--force", "Write lines for a framework that change what λ means, with a warning."),
]
PinTrial = Annotated[
    int | None,
    option(
        "--pin",
        "Export this trial in place of the rule's choice, from now on.",
        metavar="TRIAL",
        min=0,
        show_default="none",
    ),
]
Unpin = Annotated[bool, option("--unpin", "Let the rule choose again.")]
Reason = Annotated[
    str | None,
    option(
        "--reason",
        "Why the answer changes, for the record.",
        metavar="TEXT",
        show_default="what has changed",
    ),
]
ListVersions = Annotated[
    bool, option("--list", "Show what was exported before: versions, by whom and why.")
]
JsonSchema = Annotated[bool, option("--schema", "Print the JSON Schema of the document.")]
ExportOutput = Annotated[
    Path | None,
    option("--output", "File to write.", metavar="FILE", show_default="standard output"),
]
OutputDir = Annotated[
    Path, option("--output-dir", "Folder that pictures are written to.", metavar="DIR")
]
# Not `--format` of an export, so with an environment variable of its own.
PictureFormats = Annotated[
    str | None,
    typer.Option(
        "--format",
        envvar="TUNER_PATH_FORMAT",
        help="html, png, svg: one or several, with commas.",
        metavar="NAMES",
        show_default="all that can be made here",
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        envvar="TUNER_PATH_ONLY",
        help="path or map: this picture only.",
        metavar="NAME",
        show_default="both",
    ),
]
