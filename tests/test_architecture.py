"""Who may import whom, read from the syntax trees, so that late imports count too."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("objectives", "storage", "tuner")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

FORBIDDEN = {
    "objectives": ("storage", "tuner", "sqlalchemy"),
    "storage": ("objectives", "tuner", "torch", "torchvision"),
    "tuner": (),
}
# Modules that commands without training load: torch must not come with them.
LIGHT = (
    *(
        "cli",
        "spec",
        "report",
        "study",
        "logs",
        "errors",
        "run",
        "answer/document",
        "answer/record",
    ),
    *("commands/options", "commands/path", "pictures/path"),
)


def _imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULE_NAMES = {_name(path): path for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_imports_only_what_its_package_may(path: Path) -> None:
    """`tuner` uses the other two; those know neither each other nor `tuner`."""
    forbidden = FORBIDDEN[path.relative_to(ROOT).parts[0]]
    roots = {name.partition(".")[0] for name in _imports(path)}
    assert roots.isdisjoint(forbidden)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_says_what_it_is_for(path: Path) -> None:
    """A docstring comes first, and the module is short enough to have one job."""
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert len(path.read_text().splitlines()) <= 400


def test_nothing_imports_the_command_line() -> None:
    """`tuner.cli` is the outermost layer; only `python -m tuner` stands before it."""
    importers = {_name(path) for path in MODULES if "tuner.cli" in _imports(path)}
    assert importers <= {"tuner.__main__"}


def test_errors_modules_import_nothing_of_ours() -> None:
    """Everybody can import the errors, so they import nobody."""
    for package in PACKAGES:
        roots = {name.partition(".")[0] for name in _imports(ROOT / package / "errors.py")}
        assert roots.isdisjoint(PACKAGES)


def test_imports_have_no_cycle() -> None:
    """No module reaches itself, by late imports neither."""
    graph = {
        name: {imported for imported in _imports(path) if imported in MODULE_NAMES}
        for name, path in MODULE_NAMES.items()
    }
    # A package's __init__ re-exports its modules; importing from it is importing them.
    for name, imported in graph.items():
        imported.discard(name.partition(".")[0])
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for imported in sorted(graph[name]):
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", LIGHT)
def test_light_module_does_not_import_torch(name: str) -> None:
    """Help, status and export answer without waiting for torch."""
    assert "torch" not in _imports(ROOT / "tuner" / f"{name}.py")


def test_production_code_does_not_ask_whether_it_is_under_test() -> None:
    """What is tested is what runs."""
    asking = re.compile(r"pytest|PYTEST|under_test|is_test")
    assert [path.name for path in MODULES if asking.search(path.read_text())] == []
