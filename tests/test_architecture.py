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


def _module_graph() -> dict[str, set[str]]:
    """Return which of our modules each one imports, late imports included."""
    graph = {
        name: {imported for imported in _imports(path) if imported in MODULE_NAMES}
        for name, path in MODULE_NAMES.items()
    }
    # A package's __init__ re-exports its modules; importing from it is importing them.
    for name, imported in graph.items():
        imported.discard(name.partition(".")[0])
    return graph


def _folder_graph() -> dict[str, set[str]]:
    """Return from which other folders each one's modules import; a folder is no part of another."""
    folders = {
        name: ".".join(path.parent.relative_to(ROOT).parts) for name, path in MODULE_NAMES.items()
    }
    graph: dict[str, set[str]] = {folder: set() for folder in folders.values()}
    for name, imported in _module_graph().items():
        graph[folders[name]] |= {folders[other] for other in imported} - {folders[name]}
    return graph


def _find_circle(graph: dict[str, set[str]]) -> str | None:
    """Return a way that leads back to where it began, as text."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> str | None:
        if name in path:
            return " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for imported in sorted(graph[name]):
                if circle := visit(imported, (*path, name)):
                    return circle
            done.add(name)
        return None

    return next((circle for name in sorted(graph) if (circle := visit(name, ()))), None)


def test_imports_have_no_cycle() -> None:
    """No module reaches itself, by late imports neither."""
    assert _find_circle(_module_graph()) is None


_LOOSE = "modules that lie loose in tuner/ are beneath the rooms (spec, errors) or above (run, cli)"
# Imports that close a circle of folders, and why they are still there. The list gets no longer.
KNOWN_CIRCLES = {
    ("storage", "storage.migrations"): "opening a database upgrades it; migrations read versions",
    ("tuner", "tuner.answer"): _LOOSE,
    ("tuner", "tuner.commands"): _LOOSE,
    ("tuner", "tuner.confirmation"): _LOOSE,
    ("tuner", "tuner.pictures"): "what `tuner.tune` returns draws itself",
    ("tuner", "tuner.workers"): _LOOSE,
    ("tuner", "tuner.workers.launchers"): _LOOSE,
    ("tuner.confirmation", "tuner.pictures"): "a confirmation ends with its note and pictures",
    ("tuner.workers", "tuner.confirmation"): "how a trial of a fresh seed is trained lies there",
}


def test_folders_import_in_one_direction() -> None:
    """No folder reaches itself by way of others, but for the circles that are known."""
    graph = _folder_graph()
    for importer, imported in KNOWN_CIRCLES:
        graph.get(importer, set()).discard(imported)
    assert _find_circle(graph) is None


@pytest.mark.parametrize("known", KNOWN_CIRCLES, ids="->".join)
def test_known_circle_of_folders_is_still_there(known: tuple[str, str]) -> None:
    """One that is gone leaves the list, so that it does not come back."""
    graph = _folder_graph()
    for importer, imported in KNOWN_CIRCLES.keys() - {known}:
        graph.get(importer, set()).discard(imported)
    assert _find_circle(graph) is not None, f"take {known} out of KNOWN_CIRCLES"


@pytest.mark.parametrize("name", LIGHT)
def test_light_module_does_not_import_torch(name: str) -> None:
    """Help, status and export answer without waiting for torch."""
    assert "torch" not in _imports(ROOT / "tuner" / f"{name}.py")


# What they make is no output: a digest, a key, a request, a message of a pipe, a state; schema and
# events hold no number that may be infinite.
_JSON_OF_THEIR_OWN = {
    "tuner.answer.document",
    "tuner.confirmation.plan",
    "tuner.remote",
    "tuner.server.best",
    "tuner.server.studies",
    "tuner.spec",
    "tuner.compact",
    "tuner.workers.channel",
    "tuner.sampling.cmaes",
    "tuner.workers.function_trainer",
    "tuner.workers.remote_study",
}


def test_json_is_written_in_one_place_that_knows_no_infinity() -> None:
    """Python's `json.dumps` writes NaN and Infinity, which no other reader takes."""
    writing = re.compile(r"json\.dumps?\(|model_dump_json\(")
    writers = {
        name
        for name, path in MODULE_NAMES.items()
        if name.startswith("tuner.") and writing.search(path.read_text())
    }
    assert writers - _JSON_OF_THEIR_OWN == {"tuner.strict_json"}


def test_production_code_does_not_ask_whether_it_is_under_test() -> None:
    """What is tested is what runs."""
    asking = re.compile(r"pytest|PYTEST|under_test|is_test")
    assert [path.name for path in MODULES if asking.search(path.read_text())] == []
