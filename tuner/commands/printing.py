"""What commands print on stdout: a document for programs where --json asks for it, else text."""

from tuner.plain import show
from tuner.strict_json import to_json


def tell(document: object, *lines: str, as_json: bool, indent: int | None = 2) -> None:
    """Print a document as JSON, or as the lines that say it to people."""
    for line in [to_json(document, indent=indent)] if as_json else lines:
        show(line)
