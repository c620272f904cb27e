"""Write the corpus into docs/as-optuna-does.md: ``python -m tests.compatibility.page``."""

from importlib import import_module
from inspect import isfunction
from pathlib import Path

from tests.compatibility.case import PACKAGE, Case, Difference
from tests.compatibility.corpus import THEMES

PATH = Path(__file__).parents[2] / "docs" / "as-optuna-does.md"
_BEGIN = "<!-- generated: python -m tests.compatibility.page -->\n"
_HEAD = "| what the objective does | under plain Optuna | here | why |\n|---|---|---|---|"


def render() -> str:
    """Return the generated part of the page."""
    cases = [case for cases in THEMES.values() for case in cases]
    rows: dict[Difference, None] = {case.differs: None for case in cases if case.differs}
    table = "\n".join([_HEAD, *map(_row, rows)])
    themes = "\n\n".join(_describe(theme, cases) for theme, cases in THEMES.items())
    equal = f"## What is the same\n\n{themes}\n"
    return f"## What is not the same\n\n{table}\n\n{equal}"


def _row(row: Difference) -> str:
    where = "" if len(row.databases) == 3 else f" ({', '.join(row.databases)})"
    return f"| {row.what}{where} | {row.optuna} | {row.here} | {row.why} |"


def _describe(theme: str, cases: list[Case]) -> str:
    """Return what the cases of a theme do that end the same."""
    module = import_module(f"{PACKAGE}.{cases[0].objective.partition(':')[0]}")
    lines = [
        f"- {case.promise[:1].upper()}{case.promise[1:]}" for case in cases if not case.differs
    ]
    about = str(module.__doc__).partition("\n")[0]
    return "\n".join([f"### {theme.capitalize()}", "", about, "", *lines])


def find_objectives() -> set[str]:
    """Return the public functions of the corpus's modules, as ``module:function``."""
    modules = {case.objective.partition(":")[0] for cases in THEMES.values() for case in cases}
    return {
        f"{module}:{name}"
        for module in modules
        for name, thing in vars(import_module(f"{PACKAGE}.{module}")).items()
        if isfunction(thing) and thing.__module__.endswith(module) and name[0] != "_"
    }


if __name__ == "__main__":
    text = PATH.read_text()
    PATH.write_text(text.partition(_BEGIN)[0] + _BEGIN + render())
