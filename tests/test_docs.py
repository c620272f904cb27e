"""README, docs, help and code say the same: what they name is there, what they show is run."""

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

from benchmarks import quote
from benchmarks.results import FOLDER, find_quote
from tests.conftest import ROOT, Cli, clean_environment
from tests.tuner.answers import confirm, make_study
from tuner.cli import app

# Every page that people read, by its path from the root.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
}
PROSE = "\n".join(PAGES.values())
README = PAGES["README.md"]
SETTINGS = PAGES["docs/settings.md"]


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


def test_readme_is_short() -> None:
    """What does not help a stranger to begin stands on a page of its own."""
    assert len(README.splitlines()) <= 250


def test_table_of_options_is_what_the_command_line_says() -> None:
    """Each option stands there with its variable, default and help, and no other does."""
    expected = [_row(*names, parameter) for names, parameter in _options().items()]
    rows = re.findall(r"^\| `--.*$", SETTINGS, flags=re.MULTILINE)
    assert rows == expected, "paste into docs/settings.md:\n" + "\n".join(expected)


def test_list_of_commands_is_what_the_command_line_has() -> None:
    """Each command stands in docs/settings.md, and no other does."""
    listed = re.findall(r"^\| `tuner ([\w ]+)` \|", SETTINGS, flags=re.MULTILINE)
    assert set(listed) == set(COMMANDS)


def test_pages_name_only_make_targets_that_exist() -> None:
    """`make ...` works, wherever it stands as code."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|^ *)make (?:\w+=\S+ )?([a-z-]+)\b", PROSE, re.MULTILINE))
    assert len(named) > 5
    assert named <= targets


def _anchors(text: str) -> set[str]:
    """Return what a page's headings can be linked by, as GitHub makes it of their text."""
    code_out = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", code_out, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    """Each file that a link names is there, and each heading within it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target.read_text()), link


def test_every_page_is_reached_from_the_readme() -> None:
    """Nobody has to know that a page is there; its pictures are on some page."""
    linked = set(re.findall(r"\]\((docs/[\w.-]+\.md)", README))
    assert linked == {page for page in PAGES if page.startswith("docs/")}
    pictures = {path.name for path in (ROOT / "docs").glob("*.png")}
    assert pictures == set(re.findall(r"\((?:docs/)?([\w-]+\.png)\)", PROSE))


def test_pages_name_only_modules_that_exist() -> None:
    """A path of the code that prose, tables or trees name is there; history may name others."""
    prose = "\n".join(text for page, text in PAGES.items() if page != "CHANGELOG.md")
    path = r"(?:^|[`(])((?:tuner|objectives|storage|benchmarks|tests|deploy)/[\w./-]*)"
    named = set(re.findall(path, prose, re.MULTILINE))
    assert len(named) > 100
    made_by_tests = {"tests/output/"}
    assert [name for name in sorted(named - made_by_tests) if not (ROOT / name).exists()] == []


def test_every_module_stands_in_the_tree() -> None:
    """A reader finds each file, and each package within, with one line on what it is for."""
    packages = ("tuner", "objectives", "storage", "benchmarks")
    page = PAGES["docs/files.md"]
    tree = set(re.findall(rf"^((?:{'|'.join(packages)})/[\w.]+)", page, re.MULTILINE))
    modules = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
        and not path.name.startswith("__")
    }
    assert tree == modules


def test_places_that_contributing_names_are_there() -> None:
    """One more of a kind is a line in a table that exists, in a file that exists."""
    section = PAGES["CONTRIBUTING.md"].partition("## One more of a kind")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 6
    for row in rows:
        *_, line = row.strip("| ").split(" | ")
        table = re.findall(r"`([A-Z]+)`", line)[0]
        (path,) = re.findall(r"`([\w/]+\.py)`", line) or re.findall(r"`([\w/]+\.py)`", row)[-1:]
        assert re.search(rf"^{table}\b", (ROOT / path).read_text(), re.MULTILINE), row
        for folder in re.findall(r"`([\w/]+)/`", row):
            assert (ROOT / folder).is_dir()


@pytest.mark.parametrize("name", ["what-happens-when.md", "security.md"])
def test_promises_name_only_tests_that_exist(name: str) -> None:
    """Each line of such a page is a promise, and its test is there."""
    page = PAGES[f"docs/{name}"]
    promises = [
        line for line in page.splitlines() if re.match(r"\| (?!what happens|promise)", line)
    ]
    named = [re.search(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$", line) for line in promises]
    assert len(promises) > 20
    assert [line for line, test in zip(promises, named, strict=True) if test is None] == []
    missing = [
        test[0]
        for test in named
        if test and f"\ndef {test[2]}(" not in (ROOT / test[1]).read_text()
    ]
    assert missing == []


def test_every_curl_command_runs_on_the_curl_of_old_distributions() -> None:
    """README and docs use what curl 7.61 knows: `--json` came with 7.82."""
    known = {"-sSf", "-H", "-d", "-N", "-X", "--max-time"}
    commands = [
        command
        for text in PAGES.values()
        for block in text.split("```")[1::2]
        for command in re.findall(r"\bcurl .*", block.replace("\\\n", " "))
    ]
    used = {word for command in commands for word in shlex.split(command) if word[0] == "-"}
    assert len(commands) > 15
    assert used - known == set()


@pytest.mark.parametrize(("name", "page"), quote.PAGES.items())
def test_page_quotes_what_was_measured_last(name: str, page: str) -> None:
    """Letter by letter what is kept from one run."""
    kept = (FOLDER / f"{name}.md").read_text()
    told = PAGES[f"docs/{page}.md"]
    assert find_quote(told) == find_quote(kept), "run: python -m benchmarks.quote"


@pytest.mark.parametrize(
    ("name", "page", "n_tables"),
    [("selection", "docs/the-answer.md", 2), ("regularisation", "README.md", 1)],
)
def test_page_has_the_tables_of_what_was_measured_last(name: str, page: str, n_tables: int) -> None:
    """Row by row, what λ's choice is worth, and what each regulariser is."""
    kept, told = (FOLDER / f"{name}.md").read_text(), PAGES[page]
    assert quote.put_tables(told, kept) == told, "run: python -m benchmarks.quote"
    headings = re.findall(r"^\|.*(?=\n\| ---)", kept.partition("\n## ")[2], re.MULTILINE)
    assert len([heading for heading in headings if heading in told]) == n_tables


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


@pytest.mark.long
def test_network_of_ones_own_is_tuned_as_the_readme_shows(call: Cli, tmp_path: Path) -> None:
    """The file and the command of that section work together, as written."""
    section = README.split("\n## Your own network\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    check, command = re.findall(r"^tuner (.+)$", section, re.MULTILINE)
    (tmp_path / code.splitlines()[0].removeprefix("# ")).write_text(code)
    assert "side by side" in call(*shlex.split(check)).stdout
    result = call(*shlex.split(command))
    assert result.returncode == 0, result.stderr
    assert "Confirmed on 8 fresh seeds" in result.stdout


@pytest.mark.long
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
    page = PAGES["docs/use-the-answer.md"]
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
    headings = re.findall(r"^## (\S+)", PAGES["CHANGELOG.md"], flags=re.MULTILINE)
    assert headings[0] in ("Unreleased", version)
