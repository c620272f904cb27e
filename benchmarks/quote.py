"""Put what was measured last into the pages that quote it: ``python -m benchmarks.quote``."""

from pathlib import Path

from benchmarks.results import FOLDER, find_quote

# By the file of results.
PAGES = {"full": "speed", "scale": "many-hosts", "search": "the-answer"}
_DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """Replace each page's block by the one of the results."""
    for name, page in PAGES.items():
        file, kept = _DOCS / f"{page}.md", (FOLDER / f"{name}.md").read_text()
        text = file.read_text()
        file.write_text(text.replace(find_quote(text), find_quote(kept)))


if __name__ == "__main__":
    main()
