"""The API's trials: a page at a time, by plain SQL."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from storage import GIVEN_BACK, SortKey, TrialQuery, TrialRow, list_trial_rows
from tuner.report import trial_note
from tuner.server.api import Shared, StudyName, Viewer, problems
from tuner.server.models import Trial, TrialPage, TrialState
from tuner.strict_json import finite, write_params

router = APIRouter(prefix="/v1/studies", tags=["trials"])


@router.get("/{name:path}/trials", responses=problems(404))
def list_trials(  # noqa: PLR0913, PLR0917 (the query's parameters)
    name: StudyName,
    api: Shared,
    _who: Viewer,
    state: Annotated[list[TrialState], Query(description="Only these states.")] = [],  # noqa: B006
    sort: Annotated[SortKey, Query(description="What has no value comes last.")] = "number",
    order: Annotated[Literal["asc", "desc"], Query()] = "asc",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> TrialPage:
    """List a study's trials, a page at a time."""
    loaded = api.catalog.get(name)
    query = TrialQuery(limit, offset, tuple(state), sort, is_descending=order == "desc")
    rows, total = list_trial_rows(api.catalog.engine, loaded.study_id, name, query)
    return TrialPage(trials=[_trial(row) for row in rows], total=total, limit=limit, offset=offset)


def _trial(row: TrialRow) -> Trial:
    attrs = row.user_attrs
    is_finished = row.state in ("COMPLETE", "PRUNED", "FAIL")
    is_given_back = row.state == "FAIL" and GIVEN_BACK in attrs
    note = trial_note(attrs, is_given_back=is_given_back)
    seconds = None
    if row.started is not None and row.finished is not None:
        seconds = (row.finished - row.started).total_seconds()
    values: dict[str, Any] = {
        "number": row.number,
        "state": row.state,
        "value": row.value if is_finished else None,
        "params": write_params(row.params),
        "epochs": row.epochs,
        "started_at": _utc(row.started),
        "seconds": seconds,
        "worker": None if attrs.get("worker") is None else str(attrs["worker"]),
        "note": None if note is None else str(note),
    }
    return Trial(**finite(values))


def _utc(stored: datetime | None) -> str | None:
    return None if stored is None else stored.replace(tzinfo=UTC).isoformat(timespec="seconds")
