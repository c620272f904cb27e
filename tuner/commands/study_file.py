"""Study files: a command's options in TOML, and the JSON Schema that editors check them by."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from tuner.spec import Spec
from tuner.strict_json import to_json

SCHEMA_FILE = Path(__file__).with_name("study.schema.json")
# Options that a table may stand for, a line for each name.
_OPTIONS = "objective-options"
_TABLES = ("search", "fix", _OPTIONS)


def read_study_file(context: typer.Context, path: Path | None) -> Path | None:
    """Take a study file's values as the defaults of this command.

    One file serves several commands, so keys of other commands' options are passed over.
    """
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} is not TOML: {error}") from error
    own = {_key(parameter): parameter.name for parameter in context.command.params}
    known = _find_options(context.find_root().command)
    defaults = {}
    for name, value in values.items():
        key = name.replace("_", "-")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise typer.BadParameter(f"{path}: there is no option {name!r}{hint}")
        if isinstance(value, dict) and key not in _TABLES:
            raise typer.BadParameter(f"{path}: options are top-level keys, not a table [{name}]")
        if key in own:
            as_texts = _as_exact_texts if key == _OPTIONS else _as_texts
            defaults[own[key]] = as_texts(value) if isinstance(value, dict) else value
    context.default_map = defaults
    return path


def _as_texts(table: Mapping[str, Any]) -> list[str]:
    """Return a table as an option that may be repeated has it: ``NAME=VALUE``, or choices."""
    return [
        f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in table.items()
    ]


def _as_exact_texts(table: Mapping[str, Any]) -> list[str]:
    """Return a table of single values as ``NAME=VALUE``, of which a text that looks like a number
    stays a text.
    """
    for name, value in table.items():
        if not isinstance(value, str | bool | int | float):
            raise typer.BadParameter(
                f"[{_OPTIONS.replace('-', '_')}] {name}: a number, a text, true or false is taken"
            )
    return [f"{name}={to_json(value)}" for name, value in table.items()]


def _key(parameter: Any) -> str:
    """Return an option's name in a study file: its variable's, so that each has one meaning."""
    return str(parameter.envvar or "").removeprefix("TUNER_").replace("_", "-").lower()


def _find_options(root: Any) -> dict[str, Any]:
    """Return the options of all commands by their names in a study file."""
    found: dict[str, Any] = {}
    for command in _commands_of(root):
        for parameter in command.params:
            found.setdefault(_key(parameter), parameter)
    return {key: each for key, each in found.items() if key not in ("", "config")}


def _commands_of(group: Any) -> list[Any]:
    """Return a group's commands, and those of the groups in it."""
    found: list[Any] = []
    for command in group.commands.values():
        found += _commands_of(command) if hasattr(command, "commands") else [command]
    return found


def schema_text(root: Any) -> str:
    """Return the JSON Schema of study files, as ``study.schema.json`` holds it.

    ``root`` is the command line's own group of commands.
    """
    fields = Spec.model_json_schema()["properties"]
    options = sorted(_find_options(root).items())
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lambda-tuner study file",
        "description": "Options of tuner's commands as keys: tuner run --config study.toml.",
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _describe(key, each, fields) for key, each in options},
    }
    return to_json(schema) + "\n"


def _describe(key: str, parameter: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    described = _describe_value(key, parameter)
    field = fields.get(parameter.name, {})
    for each in (field, *field.get("anyOf", ())):
        if "enum" in each and described.get("type") == "string":
            described["enum"] = each["enum"]
    return {"description": parameter.help, **described}


def _describe_value(key: str, parameter: Any) -> dict[str, Any]:
    if key in _TABLES:
        types = ["string", "number", "boolean", *(() if key == _OPTIONS else ("array",))]
        values = {"type": types}
        return {
            "type": ["array", "object"],
            "items": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z_0-9]*=."},
            "additionalProperties": values,
        }
    if parameter.multiple:
        return {"type": "array", "items": {"type": "string"}}
    if parameter.nargs == 2:
        number = {"type": "number"}
        return {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    kind = parameter.type_descriptor.annotation
    if parameter.type_descriptor.parameter_info.parser is not None:  # e.g. 30m, auto
        return {"type": ["string", "number"]}
    names: dict[Any, str] = {bool: "boolean", int: "integer", float: "number"}
    bounds = {"minimum": parameter.min, "maximum": parameter.max}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return {"type": names.get(kind, "string"), **given}
