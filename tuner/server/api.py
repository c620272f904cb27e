"""The API under /v1: its routers, what they share, and its OpenAPI document."""

import functools
import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Request
from fastapi.openapi.utils import get_openapi

from storage import Role, record_action
from tuner.allowed import AllowedObjectives
from tuner.server.auth import Principal, require
from tuner.server.catalog import Catalog, SharedAnswers
from tuner.server.models import Problem
from tuner.server.origins import client_address
from tuner.server.problems import MEDIA_TYPE
from tuner.server.root import root_path

_DESCRIPTION = """Studies of lambda-tuner: create, watch and steer them, and fetch the best λ.

Send `Authorization: Bearer TOKEN`; `tuner token create` makes tokens. A viewer reads, an operator
also writes, an admin also deletes. Errors are problem documents (RFC 9457). A study's name may
hold slashes, as it is or as %2F: `/v1/studies/digits/confirm/trials` lists the trials of study
`digits/confirm`."""

# What comes after a name in a path, so that no name may end in it.
_RESERVED = frozenset({"best", "events", "pause", "resume", "stop", "trials", "workers"})


@dataclass(frozen=True)
class Api:
    """What the routes share."""

    catalog: Catalog
    answers: SharedAnswers
    allowed: AllowedObjectives


async def get_api(request: Request) -> Api:
    """Return what `add_api` has left with the app."""
    api: Api = request.app.state.api
    return api


Shared = Annotated[Api, Depends(get_api)]
StudyName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=250,
        description="The study's name; slashes may stand as they are.",
        examples=["digits"],
    ),
]
Viewer = Annotated[Principal, Depends(require(Role.VIEWER))]
Operator = Annotated[Principal, Depends(require(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(require(Role.ADMIN))]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route for its OpenAPI document: these, and those that all have."""
    common = (400, 401, 403, 408, 413, 415, 422, 500, 503)
    return {
        status: {"model": Problem, "content": {MEDIA_TYPE: {}}}
        for status in sorted({*common, *statuses})
    }


def is_addressable(name: str) -> bool:
    """Tell whether a study of this name has a path of its own under /v1/studies/."""
    parts = name.split("/")
    is_plain = "\\" not in name and "\ufffd" not in name
    is_taken = len(parts) > 1 and parts[-1] in _RESERVED
    return is_plain and not is_taken and not {"", ".", ".."} & set(parts)


def audit(request: Request, who: Principal, api: Api, action: str) -> None:
    """Record what a write was about; that it was asked for, the gate records itself."""
    record_action(api.catalog.engine, who.actor, action, client_address(request.scope))


def add_api(app: FastAPI, api: Api, routers: tuple[APIRouter, ...]) -> None:
    """Add the API's routes to the app, and one that shows their OpenAPI document."""
    app.state.api = api
    for router in routers:
        app.include_router(router)

    @functools.cache
    def describe(root: str) -> dict[str, Any]:
        document = get_openapi(
            title="lambda-tuner",
            version=version("lambda-tuner"),
            description=_DESCRIPTION,
            routes=app.routes,
            servers=[{"url": root}] if root else None,
        )
        return _tidy(document)

    router = APIRouter(include_in_schema=False)

    @router.get("/v1/openapi.json")
    async def show_openapi(request: Request, _who: Viewer) -> dict[str, Any]:
        """Describe the API."""
        return describe(root_path(request.scope))

    app.include_router(router)


def _tidy(document: dict[str, Any]) -> dict[str, Any]:
    """Leave what is not of the API, name the scheme of its tokens, and errors' one media type."""
    paths = {p: v for p, v in document["paths"].items() if p.startswith("/v1/")}
    document["paths"] = {re.sub(r":path}", "}", path): value for path, value in paths.items()}
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = {
                        MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}
                    }
    components = document["components"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    return document
