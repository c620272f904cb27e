"""Publish a study's answer: build it, and record it as the study's next version if it is another.

A pin lives in the record: the last version says whether the study is pinned, and to which trial.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from storage import (
    Export,
    NewExport,
    StorageError,
    explain_database_error,
    find_budget,
    find_last_export,
    list_exports,
    open_storage,
    record_export,
    who_am_i,
)
from tuner.answer.best import Pin, Rule
from tuner.answer.document import Document, build_document
from tuner.errors import TunerError
from tuner.foreign import explain_lost_budget
from tuner.strict_json import to_json
from tuner.study import LoadedStudy

logger = logging.getLogger(__name__)

# Each lost race means that somebody else has recorded an answer.
_MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class Wish:
    """What a person asks of an export: a rule, and whether a trial shall stand in its place."""

    rule: Rule | None = None
    pin: int | None = None
    unpin: bool = False
    reason: str | None = None

    @property
    def changes_pin(self) -> bool:
        """Tell whether the wish is to be kept in the record."""
        return self.unpin or self.pin is not None


@dataclass(frozen=True)
class Published:
    """An answer as it is handed out; ``is_new`` if it has become a version now."""

    document: Document
    is_new: bool

    @property
    def version(self) -> int | None:
        """Which of the study's versions it is; None if it could not be recorded."""
        version: int | None = self.document["provenance"]["version"]
        return version


def publish(
    loaded: LoadedStudy,
    wish: Wish | None = None,
    *,
    approve: Callable[[Document], object] | None = None,
) -> Published:
    """Return a study's answer, and record it if it differs from the last one recorded.

    ``approve`` sees the document before that, and may raise to keep it from being recorded.

    Who may only read the database gets the answer all the same, with a warning; but a pin that
    cannot be recorded raises TunerError. Raises NoResultError and UsageError. Safe to repeat.
    """
    wish = wish or Wish()
    for _ in range(_MAX_ATTEMPTS):
        last = find_last_export(loaded.storage.engine, loaded.study_id)
        pin = _pin(last, wish)
        document = build_document(loaded, wish.rule, pin)
        if approve is not None:
            approve(document)
        if last is not None and is_same_answer(json.loads(last.document), document):
            return Published(_with_version(document, last.version), is_new=False)
        try:
            recorded = _record(loaded, document, wish, last)
        except (StorageError, SQLAlchemyError, StorageInternalError) as error:
            return _without_record(loaded, document, wish, error)
        if recorded is not None:
            return Published(_with_version(document, recorded.version), is_new=True)
    raise TunerError(f"Others keep changing the answer of study {loaded.name!r}: try again")


def is_same_answer(one: Document, other: Document) -> bool:
    """Tell whether two documents say the same, whoever wrote them and when."""
    return all(one.get(key) == other.get(key) for key in {*one, *other} if key != "provenance")


def current_answer(loaded: LoadedStudy, rule: Rule | None = None) -> Document:
    """Return the answer that `publish` would, recording nothing: for those who may only read.

    Its version is None unless it is the one that was recorded last. Raises NoResultError.
    """
    last = find_last_export(loaded.storage.engine, loaded.study_id)
    document = build_document(loaded, rule, _pin(last, Wish()))
    if last is not None and is_same_answer(json.loads(last.document), document):
        return _with_version(document, last.version)
    return document


def last_document(loaded: LoadedStudy) -> Document | None:
    """Return the answer that was recorded last, with its version; None if none was."""
    last = find_last_export(loaded.storage.engine, loaded.study_id)
    return None if last is None else _with_version(json.loads(last.document), last.version)


def list_versions(loaded: LoadedStudy) -> list[dict[str, Any]]:
    """Return what was recorded, one row a version: which it replaced, by whom and why."""
    rows: list[dict[str, Any]] = []
    for export in list_exports(loaded.storage.engine, loaded.study_id):
        row: dict[str, Any] = vars(export).copy()
        params = json.loads(row.pop("document")).get("params")
        moment = datetime.fromtimestamp(row.pop("exported_at"), UTC)
        rows.append(
            {
                "version": row.pop("version"),
                "replaces": rows[-1]["version"] if rows else None,
                **row,
                "params": params or {name: row[name] for name in ("weight_decay", "lr")},
                "exported_at": moment.isoformat(timespec="seconds"),
            }
        )
    return rows


def _pin(last: Export | None, wish: Wish) -> Pin | None:
    """Return the pin that holds from now on: the wish's, or the one there is."""
    stored = None if last is None else json.loads(last.document).get("pinned")
    held = None if stored is None else Pin(**stored)
    if wish.unpin:
        return None
    if wish.pin is None:
        return held
    is_repeated = held is not None and held.trial == wish.pin
    if held is not None and is_repeated and wish.reason in (None, held.reason):
        return held
    return Pin(wish.pin, wish.reason, who_am_i())


def _record(
    loaded: LoadedStudy, document: Document, wish: Wish, last: Export | None
) -> Export | None:
    before = None if last is None else json.loads(last.document)
    evidence, pinned = document["evidence"], document["pinned"]
    new = NewExport(
        rule=document["rule"],
        weight_decay=document["weight_decay"],
        lr=document["lr"],
        value=evidence["search_value"],
        mean=evidence["mean"],
        standard_error=evidence["standard_error"],
        trial=document["provenance"]["trial"],
        pinned_trial=None if pinned is None else pinned["trial"],
        reason=wish.reason or describe_change(before, document),
        exported_by=who_am_i(),
        document=to_json(document, indent=None),
    )
    # Opened anew, since whoever shows a study has opened the storage for reading only.
    engine = open_storage(loaded.storage.url).engine
    try:
        after = 0 if last is None else last.version
        return record_export(engine, loaded.study_id, new, after=after)
    finally:
        engine.dispose()


def describe_change(before: Document | None, after: Document) -> str:
    """Return in a few words in what an answer differs from the one that it replaces."""
    if before is None:
        return "first export"
    words = []
    if before.get("pinned") != after["pinned"]:
        pinned = after["pinned"]
        words.append("pin removed" if pinned is None else f"pinned to trial {pinned['trial']}")
    for name in ("rule", "weight_decay", "lr"):
        if before.get(name) != after[name]:
            words.append(f"{name} {_show(before.get(name))} -> {_show(after[name])}")
    old = before.get("evidence", {})
    changed = [name for name, value in after["evidence"].items() if old.get(name) != value]
    if not words and changed:
        words.append(f"evidence: {', '.join(changed)}")
    return "; ".join(words) or "other facts"


def _show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _with_version(document: Document, version: int) -> Document:
    return {**document, "provenance": {**document["provenance"], "version": version}}


def _without_record(
    loaded: LoadedStudy, document: Document, wish: Wish, error: Exception
) -> Published:
    reason = explain_database_error(error) or str(error)
    if find_budget(loaded.storage.engine, loaded.study_id) is None:
        reason = explain_lost_budget(loaded.name)
    if wish.changes_pin:
        raise TunerError(f"The pin cannot be recorded, so nothing is changed: {reason}") from error
    logger.warning("This export is not recorded in the database: %s", " ".join(reason.split()))
    return Published(document, is_new=False)
