"""Which modules are ours where somebody's folder holds others of the same names."""

import importlib.util
import sys
from pathlib import Path

# Where our packages are.
ROOT = Path(__file__).resolve().parent.parent


def find_hiding(name: str) -> str | None:
    """Return the file that is imported in place of one of our packages; None if it is ours."""
    found = importlib.util.find_spec(name)  # finds, and imports nothing
    if found is None or found.origin == str(ROOT / name / "__init__.py"):
        return None
    return found.origin or name


def claim(name: str) -> None:
    """Let a name be our package's in this process, whatever is called so elsewhere."""
    if find_hiding(name) is None and importlib.util.find_spec(name) is not None:
        return
    folder = ROOT / name
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
