"""Put what the last full run measured into docs/speed.md: ``python -m benchmarks.quote``."""

from pathlib import Path

from benchmarks.results import FOLDER, find_quote

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"


def main() -> None:
    """Replace the page's block by the one of the results."""
    text = PAGE.read_text()
    PAGE.write_text(text.replace(find_quote(text), find_quote((FOLDER / "full.md").read_text())))


if __name__ == "__main__":
    main()
