"""Fetch an answer from an http(s) address, with a token where one is given.

Whatever goes wrong is an AnswerError. It is raised where no other error is being handled, so that
neither it nor what it stands for shows the token.
"""

import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from tuner.answer.best import Best
from tuner.answer.reading import read_json
from tuner.bearer import (
    build_opener,
    explain_failure,
    find_problem,
    origin_of,
    read_detail,
    read_token_file,
    show_address,
)
from tuner.errors import AnswerError, UsageError

_SILENCE_SECONDS = 30.0
_LONGEST_SECONDS = 60.0
_MAX_BYTES = 10_000_000  # a document has a few thousand
_TRUE = ("1", "true", "t", "yes", "y", "on")  # as the command line reads variables


def load_from_web(url: str, token: str | None) -> Best:
    """Return the answer at an address; raises AnswerError, which never shows the token."""
    shown = show_address(url)
    try:
        token = _find_token(url) if token is None else token
        is_insecure = os.environ.get("TUNER_INSECURE", "").lower() in _TRUE
        problem = find_problem(url, token or None, is_insecure=is_insecure)
        if problem is None:
            return read_json(_fetch(url, token or None), shown)
        problem = f"Cannot read {problem}"
    except (AnswerError, UsageError) as error:
        problem = str(error)
    except urllib.error.HTTPError as error:
        with error:
            problem = f"Cannot read {shown}: {error.code} {read_detail(error)}"
        if error.code == 401:
            problem += "; token=, TUNER_TOKEN and TUNER_TOKEN_FILE are for a token"
    except (OSError, ValueError, http.client.HTTPException) as error:
        problem = f"Cannot read {shown}: {explain_failure(error)}"
    raise AnswerError(problem.replace(token, "***") if token else problem)


def _find_token(url: str) -> str | None:
    """Return the token of the environment, as `tuner --server` finds it.

    Where TUNER_SERVER says whose it is, nobody else gets it.
    """
    server = os.environ.get("TUNER_SERVER")
    try:
        if server and origin_of(server) != origin_of(url):
            return None
    except ValueError:
        return None  # not an address: that is said later
    if token := os.environ.get("TUNER_TOKEN"):
        return token
    file = os.environ.get("TUNER_TOKEN_FILE")
    return read_token_file(Path(file)) if file else None


def _fetch(url: str, token: str | None) -> bytes:
    deadline = time.monotonic() + _LONGEST_SECONDS
    request = urllib.request.Request(url, headers={"Accept": "*/*", "User-Agent": "lambda-tuner"})
    if token is None:
        opener = urllib.request.build_opener(_Redirects())
    else:
        request.add_header("Authorization", f"Bearer {token}")
        opener = build_opener(url, _Redirects())
    content = b""
    with opener.open(request, timeout=_SILENCE_SECONDS) as response:
        while len(content) <= _MAX_BYTES and (part := response.read1(65536)):
            content += part
            if time.monotonic() > deadline:
                raise TimeoutError("it takes too long to answer")
    if len(content) > _MAX_BYTES:
        raise ValueError("it is too large for an answer")
    return content


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, over HTTP only, and takes the token to no other origin."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, *more: Any
    ) -> urllib.request.Request | None:
        """Return the request that follows."""
        problem = find_problem(more[-1], None, is_insecure=False)
        if problem is not None:
            raise ValueError(f"it redirects to {problem}")
        request = super().redirect_request(req, fp, code, msg, *more)
        if request is not None and origin_of(request.full_url) != origin_of(req.full_url):
            request.remove_header("Authorization")
        return request
