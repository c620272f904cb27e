"""Errors as the service answers them: RFC 9457 problem documents, without secrets or traces."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from storage import StorageError, explain_database_error

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


def add_problem_handlers(app: FastAPI) -> None:
    """Let every error of the app's routes become a problem document."""
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(StorageError, _answer_storage)
    app.add_exception_handler(Exception, _answer_unexpected)


def answer_error(error: Exception) -> Response:
    """Return the document for an error met outside of a route, and log it where it is ours."""
    if isinstance(error, StorageError) or (message := explain_database_error(error)) is not None:
        # What the driver says may name rows: it is for the log, not for strangers.
        logger.error("%s", error if isinstance(error, StorageError) else message)
        return problem(503, "The database does not answer: try again", {"Retry-After": "5"})
    logger.error("Unexpected error", exc_info=error)
    return problem(500, "The service has failed: its log says why")


def _answer_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail or HTTPStatus(error.status_code).phrase)
    return problem(error.status_code, detail, error.headers)


def _answer_invalid(_request: Request, error: Exception) -> Response:
    """Say what is wrong, without repeating what was sent: it may be a secret."""
    assert isinstance(error, RequestValidationError)
    places = [
        f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
        for found in error.errors()
    ]
    return problem(422, "; ".join(places))


def _answer_storage(_request: Request, error: Exception) -> Response:
    return answer_error(error)


def _answer_unexpected(_request: Request, error: Exception) -> Response:
    return answer_error(error)
