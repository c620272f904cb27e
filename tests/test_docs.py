"""README, help and code say the same: commands, options and variables are compared and run."""

import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks.results import FOLDER, find_quote
from tests.conftest import ROOT, Cli, clean_environment
from tests.tuner.answers import confirm, make_study
from tuner.cli import app

README = (ROOT / "README.md").read_text()


def _commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """Return the commands by name, those of a group as `group command`."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        is_group = hasattr(command, "commands")
        found |= _commands(command, f"{prefix}{name} ") if is_group else {prefix + name: command}
    return found


COMMANDS = _commands(typer.main.get_command(app))


def _options() -> dict[tuple[str, str | None], Any]:
    """Return the options by flag and variable, each as the first command that has it says it."""
    found: dict[tuple[str, str | None], Any] = {}
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.name != "help" and parameter.opts[0].startswith("--"):
                found.setdefault((parameter.opts[0], parameter.envvar), parameter)
    return found


OPTION_VARIABLES = {variable for _, variable in _options() if variable}


def _row(flag: str, variable: str | None, parameter: Any) -> str:
    metavar = f" {parameter.metavar}" if parameter.metavar else ""
    default = parameter.show_default
    if not isinstance(default, str):
        default = "off" if parameter.default is False else parameter.default or ""
    named = f"`{variable}`" if variable else "none"
    return f"| `{flag}{metavar}` | {named} | {default} | {parameter.help} |"


def test_every_command_with_a_storage_takes_its_password_from_a_file() -> None:
    """In the compose stack no other way to the database is left."""
    by_command = {
        name: {parameter.name for parameter in command.params} for name, command in COMMANDS.items()
    }
    with_storage = {name for name, found in by_command.items() if "storage" in found}
    assert with_storage
    assert with_storage == {
        name for name, found in by_command.items() if "storage_password_file" in found
    }


def test_readme_table_is_what_the_command_line_says() -> None:
    """Each option stands in the README with its variable, default and help, and no other does."""
    expected = [_row(*names, parameter) for names, parameter in _options().items()]
    rows = re.findall(r"^\| `--.*$", README, flags=re.MULTILINE)
    assert rows == expected, "paste into the README:\n" + "\n".join(expected)


def test_readme_names_exactly_the_commands_there_are() -> None:
    """Each command stands in the README's list, and no other does."""
    assert set(re.findall(r"^\| `tuner ([\w ]+)` \|", README, flags=re.MULTILINE)) == set(COMMANDS)


def test_readme_names_only_make_targets_that_exist() -> None:
    """`make ...` in the README works."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets


def test_readme_names_only_files_that_exist() -> None:
    """Paths in the README's tree and links are there."""
    linked = re.findall(r"\]\(([\w./-]+)\)", README)
    tree = re.findall(r"^((?:tuner|objectives|storage|benchmarks)/[\w.]+)", README, re.MULTILINE)
    assert len(tree) > 10
    assert [path for path in linked + tree if not (ROOT / path).exists()] == []


def test_every_module_stands_in_the_readme_tree() -> None:
    """A reader finds each file, and each package within, with one line on what it is for."""
    packages = ("tuner", "objectives", "storage", "benchmarks")
    tree = set(re.findall(rf"^((?:{'|'.join(packages)})/[\w.]+)", README, re.MULTILINE))
    modules = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
        and not path.name.startswith("__")
    }
    assert tree == modules


def test_what_happens_when_names_only_tests_that_exist() -> None:
    """Each line of the page is a promise, and its test is there."""
    page = (ROOT / "docs" / "what-happens-when.md").read_text()
    promises = [line for line in page.splitlines() if re.match(r"\| (?!what happens)", line)]
    named = [re.search(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$", line) for line in promises]
    assert len(promises) > 20
    assert [line for line, test in zip(promises, named, strict=True) if test is None] == []
    missing = [
        test[0]
        for test in named
        if test and f"\ndef {test[2]}(" not in (ROOT / test[1]).read_text()
    ]
    assert missing == []


def test_readme_quotes_the_last_full_benchmark() -> None:
    """The README's speeds are those kept from one run, letter by letter."""
    kept = (FOLDER / "full.md").read_text()
    assert find_quote(README) == find_quote(kept), "run: python -m benchmarks.quote"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_text_with_an_example(name: str) -> None:
    """Help says what the command does, and shows it in use."""
    command = COMMANDS[name]
    assert command.help
    assert command.epilog.startswith("Example: tuner ")
    for parameter in command.params:
        assert parameter.help, parameter.name


@pytest.mark.slow
def test_readme_commands_run(call: Cli) -> None:
    """The README's commands on the small data set work one after another, as written."""
    block = README.split("<!-- tested -->")[1].split("```")[1]
    lines = [line for line in block.splitlines()[1:] if line.startswith("tuner ")]
    assert len(lines) >= 4
    for line in lines:
        result = call(*shlex.split(line, comments=True)[1:])
        assert result.returncode == 0, f"{line}\n{result.stderr}"


@pytest.mark.slow
def test_use_the_answer_runs_block_by_block(tmp_path: Path) -> None:
    """What the page shows, in shell, Python and SQL, works as written, one after another."""
    file = tmp_path / "tuner.db"
    confirm(make_study(f"sqlite:///{file}", "digits"))
    command = tmp_path / "bin" / "tuner"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tuner "$@"\n')
    command.chmod(0o755)
    environment = clean_environment(
        PATH=f"{command.parent}:{os.environ['PATH']}", TUNER_STUDY="digits"
    )
    page = (ROOT / "docs" / "use-the-answer.md").read_text()
    blocks = re.findall(r"^```(sh|python|sql)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert {kind for kind, _ in blocks} == {"sh", "python", "sql"}
    programs = {"sh": ["bash", "-euc"], "python": [sys.executable, "-c"]}
    for kind, block in blocks:
        if kind == "sql":
            with closing(sqlite3.connect(file)) as connection:
                for query in block.strip().split(";\n"):
                    assert connection.execute(query).fetchall(), query
        else:
            result = subprocess.run(
                [*programs[kind], block],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, f"{block}\n{result.stderr}"


def test_version_is_in_the_changelog() -> None:
    """The changelog begins with what is being made now."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] in ("Unreleased", version)
