"""Put what was measured last into the pages that quote it: ``python -m benchmarks.quote``."""

from itertools import groupby
from pathlib import Path

from benchmarks.results import FOLDER, find_quote

# By the file of results, whose figures are quoted, and whose tables.
PAGES = {"full": "speed", "scale": "many-hosts", "search": "the-answer"}
TABLES = {"selection": "docs/the-answer.md", "regularisation": "README.md"}
_ROOT = Path(__file__).parent.parent


def main() -> None:
    """Replace each page's block, and its tables, by those of the results."""
    for name, page in PAGES.items():
        file, kept = _ROOT / "docs" / f"{page}.md", (FOLDER / f"{name}.md").read_text()
        text = file.read_text()
        file.write_text(text.replace(find_quote(text), find_quote(kept)))
    for name, page in TABLES.items():
        file = _ROOT / page
        file.write_text(put_tables(file.read_text(), (FOLDER / f"{name}.md").read_text()))


def put_tables(text: str, kept: str) -> str:
    """Return a page with the tables of results below their figures, each in place of the one that
    begins as it does.
    """
    by_heading = {table[0]: table for table in _find_tables(kept.partition("\n## ")[2])}
    for table in _find_tables(text):
        if table[0] in by_heading:
            text = text.replace("\n".join(table), "\n".join(by_heading[table[0]]))
    return text


def _find_tables(text: str) -> list[list[str]]:
    """Return the lines of each table."""
    lines = groupby(text.splitlines(), lambda line: line.startswith("|"))
    return [list(table) for is_table, table in lines if is_table]


if __name__ == "__main__":
    main()
