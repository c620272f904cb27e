"""The API's events: a study's progress as it comes, as server-sent events.

No client has a thread, nor queries of its own: all of them share what is read of a study at most
twice a second, however many there are.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from tuner.errors import StudyNotFoundError
from tuner.server.api import Api, Shared, StudyName, Viewer, problems
from tuner.server.auth import is_still_let_in
from tuner.server.models import StudyStatus
from tuner.server.studies import load_status

router = APIRouter(prefix="/v1/studies", tags=["events"])

MEDIA_TYPE = "text/event-stream"
_LOOK_SECONDS = 1.0
# Proxies close what is silent for a minute.
_SILENCE_SECONDS = 15.0
# Then the client asks again, and is asked again who it is.
_LONGEST_SECONDS = 900.0


class _EventStream(StreamingResponse):
    media_type = MEDIA_TYPE


@router.get(
    "/{name:path}/events",
    response_class=_EventStream,
    responses={
        **problems(404),
        200: {
            "description": "`event: status` at each change, its data as GET of the study shows it; "
            "`event: end` when no worker will get another trial, or the study is deleted.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
    },
)
async def follow_study(
    name: StudyName, api: Shared, _who: Viewer, request: Request
) -> StreamingResponse:
    """Follow a study's progress until it ends; after 15 minutes clients have to ask again."""
    status, text = await load_status(api, name)
    return _EventStream(_events(api, status, text, request), headers={"X-Accel-Buffering": "no"})


async def _events(api: Api, status: StudyStatus, text: str, request: Request) -> AsyncIterator[str]:
    started = said_at = time.monotonic()
    shown: str | None = None
    while True:
        if text != shown:
            shown, said_at = text, time.monotonic()
            yield _event("status", text)
        if status.is_spent or status.state == "stopped":
            yield _event("end", text)
            return
        if time.monotonic() - said_at > _SILENCE_SECONDS:
            said_at = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(_LOOK_SECONDS)
        if time.monotonic() - started > _LONGEST_SECONDS or await request.is_disconnected():
            return
        if not await is_still_let_in(request):
            return
        try:
            status, text = await load_status(api, status.study)
        except StudyNotFoundError:
            yield _event("end", "{}")
            return


def _event(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"
