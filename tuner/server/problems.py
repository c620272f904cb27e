"""Errors as the service answers them: RFC 9457 problem documents, without secrets or traces."""

import functools
import logging
import string
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from importlib import resources

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from storage import StorageError, explain_database_error
from tuner.errors import (
    ContradictionError,
    NoResultError,
    NotAllowedError,
    StudyNotFoundError,
    TunerError,
    UsageError,
)
from tuner.server.origins import METHODS
from tuner.server.root import root_path

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem document; its title is the status's."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def refuse(
    scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a problem document or, to a browser that shows a page, a page that says the same."""
    if "text/html" not in Headers(scope=scope).get("accept", ""):
        return problem(status, detail, headers)
    title = HTTPStatus(status).phrase
    page = fill_in("problem.html", root=root_path(scope), title=title, detail=escape(detail))
    return HTMLResponse(page, status, headers)


def fill_in(page: str, /, **values: str) -> str:
    """Return a page of ours; values are HTML."""
    return string.Template(read_part(page)).substitute(values)


@functools.cache
def read_part(name: str) -> str:
    """Return a file of this package."""
    return resources.files("tuner.server").joinpath(name).read_text(encoding="utf-8")


def add_problem_handlers(app: FastAPI) -> None:
    """Let every error of the app's routes become a problem document."""
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    # Of databases each by its name: what is handled as an Exception is logged with a traceback.
    for kind in (StorageError, SQLAlchemyError, StorageInternalError):
        app.add_exception_handler(kind, _answer_storage)
    app.add_exception_handler(TunerError, _answer_tuner)
    app.add_exception_handler(Exception, _answer_unexpected)


def answer_error(error: Exception) -> Response:
    """Return the document for an error met outside of a route, and log it where it is ours."""
    if isinstance(error, StorageError) or (message := explain_database_error(error)) is not None:
        # What the driver says may name rows: it is for the log, not for strangers.
        logger.error("%s", error if isinstance(error, StorageError) else message)
        return problem(503, "The database does not answer: try again", {"Retry-After": "5"})
    logger.error("Unexpected error", exc_info=error)
    return problem(500, "The service has failed: its log says why")


def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail or HTTPStatus(error.status_code).phrase)
    # Starlette names the methods of the path's first route only.
    headers = {"Allow": ", ".join(_find_methods(request))} if error.status_code == 405 else None
    return problem(error.status_code, detail, headers or error.headers)


def _find_methods(request: Request) -> list[str]:
    """Return the methods that this path answers."""
    place = {"type": "http", "path": request.scope["path"]}
    return [
        method
        for method in METHODS
        if any(
            route.matches({**place, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def _answer_invalid(_request: Request, error: Exception) -> Response:
    """Say what is wrong, without repeating what was sent: it may be a secret."""
    assert isinstance(error, RequestValidationError)
    places = [
        f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
        for found in error.errors()
    ]
    return problem(422, "; ".join(places))


_STATUSES: tuple[tuple[type[TunerError], int], ...] = (
    (ContradictionError, 409),
    (UsageError, 422),
    (StudyNotFoundError, 404),
    (NoResultError, 409),
    (NotAllowedError, 403),
)


def _answer_tuner(_request: Request, error: Exception) -> Response:
    """Say what the command line would say."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return problem(status, str(error))
    return answer_error(error)


def _answer_storage(_request: Request, error: Exception) -> Response:
    return answer_error(error)


def _answer_unexpected(_request: Request, error: Exception) -> Response:
    return answer_error(error)
