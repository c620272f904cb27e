"""An objective of the user's own is found as ``python -m`` would find it."""

import sys
from pathlib import Path

import pytest

from objectives.errors import UnknownNameError
from objectives.functions import load_function


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current directory: an empty one, forgotten by ``sys.path`` after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_load_function_in_current_directory_is_found(folder: Path) -> None:
    """A file next to which the tuner is started needs no installation."""
    (folder / "user_parabola.py").write_text("def objective(trial):\n    return trial**2\n")
    function = load_function("user_parabola:objective")
    assert function(3) == 9


def test_load_function_in_a_package_is_found(folder: Path) -> None:
    """A dotted module is imported with its package."""
    (folder / "user_package").mkdir()
    (folder / "user_package" / "inner.py").write_text("def objective(trial):\n    return trial\n")
    assert load_function("user_package.inner:objective")(3) == 3


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("user_absent:objective", "there is no module 'user_absent'"),
        ("user_absent.inner:objective", "there is no module 'user_absent'"),
        ("user_constant.inner:objective", "there is no module 'user_constant.inner'"),
        ("user_constant:objective", "'user_constant' has no function 'objective'"),
        ("user_constant:VALUE", "'user_constant' has no function 'VALUE'"),
        ("user_constant", "'user_constant' is not written as package.module:function"),
        (":f", "':f' is not written as package.module:function"),
        (".user:f", "'.user:f' is not written as package.module:function"),
    ],
    ids=[
        "module",
        "package",
        "module in a file",
        "attribute",
        "not callable",
        "no colon",
        "no module",
        "relative",
    ],
)
def test_load_function_with_unknown_name_says_what_is_missing(
    folder: Path, path: str, said: str
) -> None:
    """A misspelt name is the caller's mistake, and the message says which part is wrong."""
    (folder / "user_constant.py").write_text("VALUE = 1\n")
    with pytest.raises(UnknownNameError, match=said):
        load_function(path)


def test_load_function_in_module_that_fails_passes_its_error_through(folder: Path) -> None:
    """An error in the user's own code is shown as it is, not as a misspelt name."""
    (folder / "user_broken.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_function("user_broken:objective")


def test_load_function_in_module_that_lacks_a_dependency_names_the_dependency(
    folder: Path,
) -> None:
    """A missing dependency of the user's module is not mistaken for a missing module."""
    (folder / "user_needs.py").write_text("import user_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="user_dependency"):
        load_function("user_needs:objective")
