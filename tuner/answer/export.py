"""Hand a study's answer out: as text in any form, into a file that is written whole."""

import os
from pathlib import Path

from tuner.answer.document import Document
from tuner.answer.formats import FORMATS
from tuner.answer.frameworks import FRAMEWORKS, OPTIMIZERS, Optimizer, write_lines
from tuner.errors import TunerError, UsageError
from tuner.whole_files import whole_file

# The published JSON Schema of the document, kept as a file for those who read the source.
SCHEMA_FILE = Path(__file__).with_name("best.schema.json")


def check_form(format_name: str, optimizer: str | None, *, force: bool) -> None:
    """Raise UsageError unless this is a form that can be asked for."""
    names = (*FORMATS, *FRAMEWORKS)
    if format_name not in names:
        raise UsageError(f"Unknown format {format_name!r}: choose one of {', '.join(names)}")
    if format_name not in FRAMEWORKS and (optimizer is not None or force):
        option = "--force" if optimizer is None else f"--optimizer {optimizer}"
        raise UsageError(f"{option} is for --format {', '.join(FRAMEWORKS)}, not {format_name}")
    if optimizer is not None and optimizer not in OPTIMIZERS:
        raise UsageError(f"Unknown optimizer {optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")


def render(
    document: Document, format_name: str, optimizer: Optimizer | None = None, *, force: bool = False
) -> str:
    """Return the document in a form; raises UsageError where it would change λ's meaning."""
    if format_name in FORMATS:
        return FORMATS[format_name](document)
    return write_lines(document, format_name, optimizer, force=force)


def check_writable(path: Path) -> None:
    """Raise TunerError if the file could not be written there: better now than after training."""
    folder = path.resolve().parent
    if path.exists() and not path.is_file():
        raise TunerError(f"Cannot write {path}: it is not a regular file")
    if not folder.is_dir():
        raise TunerError(f"Cannot write {path}: there is no directory {folder}")
    if not os.access(folder, os.W_OK):
        raise TunerError(f"Cannot write {path}: directory {folder} is not writable")


def write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises TunerError."""
    check_writable(path)
    target = path.resolve()  # a symbolic link stays one
    try:
        with whole_file(target) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise TunerError(f"Cannot write {path}: {error.strerror}") from error
