"""The command that hands out the answer: `tuner export`, its versions, and its pin."""

import sys
from typing import TYPE_CHECKING, Any, cast, get_args

import typer
from rich.table import Table

from tuner.answer.best import Rule
from tuner.commands import answer_options, options
from tuner.errors import UsageError
from tuner.plain import show
from tuner.serving import find_remote
from tuner.strict_json import to_json

if TYPE_CHECKING:
    from tuner.answer.frameworks import Optimizer
    from tuner.answer.record import Published, Wish


@options.with_study
def export(
    context: typer.Context,
    storage: str,
    study: str,
    rule: answer_options.Rule = None,
    format_name: answer_options.Format = "json",
    optimizer: answer_options.Optimizer = None,
    force: answer_options.Force = False,
    pin: answer_options.PinTrial = None,
    unpin: answer_options.Unpin = False,
    reason: answer_options.Reason = None,
    list_all: answer_options.ListVersions = False,
    schema: answer_options.JsonSchema = False,
    output: answer_options.ExportOutput = None,
    as_json: options.Json = False,
) -> None:
    """Print the best λ of a study, and what it means, for other projects; and record it."""
    from tuner.answer.export import SCHEMA_FILE, check_form, check_writable, render, write_file
    from tuner.answer.record import Wish, list_versions
    from tuner.study import load_study_to_read

    format_name = "json" if as_json else format_name
    check_form(format_name, optimizer, force=force)
    wish = Wish(_rule(rule), pin, unpin, _reason(reason))
    _check_wish(wish, has_other_task=list_all or schema)
    if output is not None:
        check_writable(output)
    if schema:
        text = SCHEMA_FILE.read_text(encoding="utf-8")
    elif (remote := find_remote(context)) is not None:
        if list_all or wish.changes_pin or wish.reason is not None:
            raise UsageError("--server only reads: --list, --pin, --unpin, --reason need --storage")
        query = {"rule": wish.rule, "format": format_name, "optimizer": optimizer}
        text = remote.export(study, {**query, "force": "true" if force else None})
    elif list_all:
        rows = list_versions(load_study_to_read(storage, study))
        text = to_json(rows) + "\n" if as_json else _table(rows)
    else:
        form = (format_name, cast("Optimizer | None", optimizer))
        text = render(_publish(storage, study, wish, form, force=force), *form, force=force)
    if output is None:
        show(text, end="")
    else:
        write_file(output, text)
        _say(f"Written to {output}")


def _publish(
    storage: str, study: str, wish: "Wish", form: "tuple[str, Optimizer | None]", *, force: bool
) -> dict[str, Any]:
    from tuner.answer.export import render
    from tuner.answer.record import publish
    from tuner.study import load_study_to_read

    published = publish(
        load_study_to_read(storage, study),
        wish,
        approve=lambda document: render(document, *form, force=force),
    )
    _tell(published, wish)
    return published.document


def _tell(published: "Published", wish: "Wish") -> None:
    """Say on stderr what has become of the record."""
    pinned, version = published.document["pinned"], published.version
    if pinned is not None:
        why = "" if pinned["reason"] is None else f" ({pinned['reason']})"
        _say(
            f"Pinned to trial {pinned['trial']} by {pinned['by']}{why}, in place of rule "
            f"{published.document['rule']}; --unpin removes it"
        )
    if published.is_new and version is not None:
        place = f", in place of version {version - 1}" if version > 1 else ""
        _say(f"Recorded as version {version}{place}")
    elif wish.changes_pin or wish.reason is not None:
        _say(f"Nothing has changed: this is version {version}")


def _rule(rule: str | None) -> Rule | None:
    if rule is not None and rule not in get_args(Rule):
        raise UsageError(f"Unknown rule {rule!r}: choose one of {', '.join(get_args(Rule))}")
    return cast("Rule | None", rule)


def _reason(reason: str | None) -> str | None:
    """Return a reason on one line; None for an empty one."""
    return " ".join((reason or "").split()) or None


def _check_wish(wish: "Wish", *, has_other_task: bool) -> None:
    if wish.unpin and wish.pin is not None:
        raise UsageError("--pin and --unpin contradict each other: leave one out")
    if has_other_task and wish.changes_pin:
        raise UsageError("--pin and --unpin change the answer: leave out --list and --schema")


def _table(rows: list[dict[str, Any]]) -> str:
    """Return the versions as a table for people."""
    from tuner.report import format_value, result_console

    table = Table("version", "exported at", "rule", "parameters", "mean", "by", "why")
    for row in rows:
        pinned = "" if row["pinned_trial"] is None else f", pinned to trial {row['pinned_trial']}"
        cells = [
            row["version"],
            row["exported_at"].replace("+00:00", "Z"),
            f"{row['rule']}{pinned}",
            ", ".join(f"{name} {format_value(value)}" for name, value in row["params"].items()),
            _number(row["mean"]) + _number(row["standard_error"], " ± ", 2),
            row["exported_by"],
            row["reason"],
        ]
        table.add_row(*map(str, cells))
    console = result_console()
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _number(value: float | None, prefix: str = "", digits: int = 4) -> str:
    return "" if value is None else f"{prefix}{value:.{digits}g}"


def _say(message: str) -> None:
    show(message, file=sys.stderr)
