"""Put what the last full run measured into the README: ``python -m benchmarks.quote``."""

from pathlib import Path

from benchmarks.results import FOLDER, find_quote

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    """Replace the README's block by the one of the results."""
    text = README.read_text()
    README.write_text(text.replace(find_quote(text), find_quote((FOLDER / "full.md").read_text())))


if __name__ == "__main__":
    main()
