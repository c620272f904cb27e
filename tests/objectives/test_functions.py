"""An objective of the user's own is found as Python finds it for a script, or by its file."""

import sys
from pathlib import Path

import pytest

from objectives.errors import ObjectiveError, UnknownNameError
from objectives.functions import load_objective


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's folder: an empty one, forgotten by ``sys.path`` after the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(
    "path", ["user_parabola:objective", "user_parabola.py:objective"], ids=["module", "file"]
)
def test_load_function_in_current_directory_is_found(folder: Path, path: str) -> None:
    """A file next to which the tuner is started needs no installation."""
    (folder / "user_parabola.py").write_text("def objective(trial):\n    return trial**2\n")
    assert load_objective(path, str(folder))(3) == 9


def test_load_function_in_a_package_is_found(folder: Path) -> None:
    """A dotted module is imported with its package."""
    (folder / "user_package").mkdir()
    (folder / "user_package" / "inner.py").write_text("def objective(trial):\n    return trial\n")
    assert load_objective("user_package.inner:objective", str(folder))(3) == 3


def test_load_function_in_a_file_imports_what_lies_beside_it(folder: Path) -> None:
    """Its name need not be one of a module, and a library's name is free."""
    (folder / "my code").mkdir()
    (folder / "my code" / "user_beside.py").write_text("VALUE = 7\n")
    (folder / "my code" / "json.py").write_text(
        "from user_beside import VALUE\n\ndef objective(trial):\n    return VALUE\n"
    )
    assert load_objective("my code/json.py:objective", str(folder))(3) == 7


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("user_absent:objective", "there is no module 'user_absent'"),
        ("user_absent.inner:objective", "there is no module 'user_absent'"),
        ("user_constant.inner:objective", "there is no module 'user_constant.inner'"),
        ("user_constant:objective", "'user_constant' has no function 'objective'"),
        ("user_constant:VALUE", "'user_constant' has no function 'VALUE'"),
        ("user_absent.py:objective", "there is no file 'user_absent.py'"),
        ("user_constant.py:objective", "'user_constant.py' has no function 'objective'"),
        ("user_constant", "'user_constant' is not written as package.module:function"),
        (":f", "':f' is not written as package.module:function or file.py:function"),
        (".user:f", "'.user:f' is not written as package.module:function"),
    ],
    ids=[
        "module",
        "package",
        "module in a file",
        "attribute",
        "not callable",
        "file",
        "attribute of a file",
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
        load_objective(path, str(folder))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "importing its module raised ZeroDivisionError: division by zero"),
        ("import user_dependency", "ModuleNotFoundError: No module named 'user_dependency'"),
        ("raise ValueError('on two\\nlines')", "raised ValueError: on two lines"),
        ("import sys; sys.exit(2)", "importing its module ended the program (SystemExit: 2)"),
        ("import optuna; optuna.create_study()", "calls create_study while it is imported"),
    ],
    ids=["error", "dependency", "two lines", "exit", "script"],
)
def test_load_function_in_module_that_fails_says_so_in_one_line(
    folder: Path, source: str, said: str
) -> None:
    """Whatever the user's own code does is told as it is, not as a misspelt name."""
    (folder / "user_broken.py").write_text(f"{source}\n")
    with pytest.raises(ObjectiveError) as raised:
        load_objective("user_broken.py:objective", str(folder))
    assert not isinstance(raised.value, UnknownNameError)
    assert str(raised.value).startswith("Objective 'user_broken.py:objective': ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
