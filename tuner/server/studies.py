"""The API's studies: list, create, show, change, pause, resume, stop, delete."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request, Response

from storage import StudyState, change_budget, find_study, list_studies, set_study_state
from tuner.confirmation.wish import ask, ask_once
from tuner.server.api import (
    Admin,
    Api,
    Operator,
    Shared,
    StudyName,
    Viewer,
    audit,
    is_addressable,
    problems,
)
from tuner.server.models import (
    ConfirmationOptions,
    CreatedStudy,
    NewStudy,
    StateChange,
    StudyChange,
    StudyPage,
    StudyStatus,
    StudySummary,
)
from tuner.server.root import root_path
from tuner.strict_json import finite
from tuner.study import create_or_resume, load_study

router = APIRouter(prefix="/v1/studies", tags=["studies"])


@router.get("", responses=problems())
def list_all_studies(
    api: Shared,
    _who: Viewer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> StudyPage:
    """List the studies, the newest first."""
    records, total = list_studies(api.catalog.engine, limit=limit, offset=offset)
    studies = [
        StudySummary(
            name=record.name,
            state=record.state,
            priority=record.priority,
            created_at=_utc(record.created_at),
            n_trials=record.n_trials,
            n_finished=record.n_finished,
            n_in_training=record.n_leased,
        )
        for record in records
    ]
    return StudyPage(studies=studies, total=total, limit=limit, offset=offset)


@router.post(
    "",
    status_code=201,
    responses={**problems(404, 409), 200: {"model": CreatedStudy, "description": "It was there."}},
)
def create_study(
    new: NewStudy, api: Shared, who: Operator, request: Request, response: Response
) -> CreatedStudy:
    """Create a study with its budget; workers of all studies then train it.

    Safe to repeat: a study of this name and spec that is there is resumed, and takes the budget
    that is given; 409 if its spec is another one. Code (`module:function`) is accepted as objective
    only where the service was started with `--allow-objective`.
    """
    if not is_addressable(new.name):
        raise HTTPException(422, f"Study {new.name!r} would have no path of its own here")
    existed = find_study(api.catalog.engine, new.name) is not None
    if existed:
        api.allowed.check(load_study(api.catalog.storage, new.name).spec.objective)
    api.allowed.check(new.spec.given().get("objective", ""))
    loaded = create_or_resume(
        api.catalog.storage,
        new.name,
        new.spec.given(),
        n_trials=new.n_trials,
        timeout_seconds=new.timeout_seconds,
        max_retries=new.max_retries,
        priority=new.priority,
        brakes=new.brakes.given(),
        warm_start=new.warm_start,
    )
    if new.confirm:
        ask_once(loaded)
    api.answers.forget(new.name)
    audit(request, who, api, f"{'resume' if existed else 'create'} study {new.name!r}")
    response.status_code = 200 if existed else 201
    response.headers["Location"] = f"{root_path(request.scope)}/v1/studies/{quote(new.name)}"
    status = finite(api.catalog.load_status(new.name))
    return CreatedStudy(**status, spec=finite(loaded.spec.model_dump(mode="json")))


@router.get("/{name:path}", response_model=StudyStatus, responses=problems(404))
async def show_study(name: StudyName, api: Shared, _who: Viewer) -> Response:
    """Show a study's progress, best trial, workers and ETA."""
    _, text = await load_status(api, name)
    return Response(text, media_type="application/json")


@router.patch("/{name:path}", responses=problems(404, 409))
def change_study(
    name: StudyName, change: StudyChange, api: Shared, who: Operator, request: Request
) -> StudyStatus:
    """Change what a study may spend: trials, time, retries, priority."""
    if change.n_trials is not None and api.catalog.get(name).spec.confirms is not None:
        raise HTTPException(409, f"Study {name!r} is a confirmation: it decides on its trials")
    given = change.model_fields_set
    change_budget(
        api.catalog.engine,
        _get_id(api, name),
        n_trials=change.n_trials,
        timeout_seconds=change.timeout_seconds,
        max_retries=change.max_retries,
        priority=change.priority,
        keeps_deadline="timeout_seconds" not in given,
    )
    api.answers.forget(name)
    values = ", ".join(f"{key}={getattr(change, key)}" for key in sorted(given))
    audit(request, who, api, f"change study {name!r}: {values or 'nothing'}")
    return StudyStatus(**finite(api.catalog.load_status(name)))


@router.delete("/{name:path}", status_code=204, responses=problems(404))
def delete_study(name: StudyName, api: Shared, _who: Admin) -> None:
    """Delete a study with all its trials; its workers leave it. A study NAME/confirm stays."""
    api.catalog.delete(name)
    api.answers.forget(name)


def _add_state_route(command: str, state: StudyState, summary: str) -> None:
    def change_state(name: StudyName, api: Shared, _who: Operator) -> StateChange:
        set_study_state(api.catalog.engine, _get_id(api, name), state)
        api.answers.forget(name)
        return StateChange(study=name, state=state)

    router.add_api_route(
        f"/{{name:path}}/{command}",
        change_state,
        methods=["POST"],
        summary=summary,
        operation_id=f"{command}_study",
        responses=problems(404),
    )


_add_state_route("pause", "paused", "Let a study's workers wait after the epoch they are in")
_add_state_route("resume", "open", "Let a paused or stopped study's workers go on")
_add_state_route("stop", "stopped", "Let a study's workers give their trials back and leave it")


@router.post("/{name:path}/confirm", responses=problems(404, 409))
def confirm_study(
    name: StudyName, wanted: ConfirmationOptions, api: Shared, who: Operator, request: Request
) -> StudyStatus:
    """Let workers of all studies confirm λ on fresh seeds once the search is over, or once more."""
    loaded = api.catalog.get(name)
    if loaded.spec.confirms is not None:
        raise HTTPException(409, f"Study {name!r} is a confirmation: name {loaded.spec.confirms!r}")
    ask(loaded, n_seeds=wanted.n_seeds)
    api.answers.forget(name)
    audit(request, who, api, f"confirm study {name!r}")
    return StudyStatus(**finite(api.catalog.load_status(name)))


async def load_status(api: Api, name: str) -> tuple[StudyStatus, str]:
    """Return a study's progress and its JSON, made once for all who ask at the same time."""

    def load() -> tuple[StudyStatus, str]:
        status = StudyStatus(**finite(api.catalog.load_status(name)))
        return status, status.model_dump_json()

    return await api.answers.get((name, "status"), load)


def _get_id(api: Api, name: str) -> int:
    return api.catalog.find(name).study_id


def _utc(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
