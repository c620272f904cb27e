"""The API of a `tuner serve` elsewhere, for commands that are given `--server`.

The standard library's client: no redirect is followed and, without TLS, no proxy is asked, since
either would be handed the token.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn
from urllib.parse import quote, urlencode

from tuner.bearer import build_opener, explain_failure, find_problem, read_detail, show_address
from tuner.errors import (
    ContradictionError,
    NoResultError,
    ServiceError,
    StudyNotFoundError,
    UsageError,
)

_TIMEOUT_SECONDS = 30.0
_LARGEST_ANSWER_BYTES = 256 * 1024 * 1024
# The most that the API gives at once.
_PAGE = 1000


@dataclass(frozen=True)
class Remote:
    """A service and the token for it; raises UsageError if the token would travel in the clear."""

    url: str
    token: str | None = field(default=None, repr=False)
    is_insecure: bool = False

    def __post_init__(self) -> None:
        problem = find_problem(self.url, self.token, is_insecure=self.is_insecure)
        if problem is None and {"?", "#"} & set(self.url):
            problem = f"{show_address(self.url)}: leave out query and fragment"
        if problem is not None:
            raise UsageError(f"--server {problem}")

    def create(self, name: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Create or resume a study; ``wish`` is the API's body without the name."""
        given = {key: value for key, value in wish.items() if value is not None}
        return self._json("POST", "/v1/studies", body={"name": name, **given})

    def load_status(self, name: str) -> dict[str, Any]:
        """Return what `tuner status --json` tells, with the service as storage."""
        return self.with_storage(self._json("GET", _path(name)))

    def with_storage(self, status: dict[str, Any]) -> dict[str, Any]:
        """Return a study's status with the service where the command line has the storage."""
        first = {"study": status.pop("study"), "storage": self.url}
        return {**first, **status}

    def list_trials(self, name: str) -> list[dict[str, Any]]:
        """Return all trials, as `tuner trials --json` tells them."""
        rows: list[dict[str, Any]] = []
        while True:
            query = {"limit": _PAGE, "offset": len(rows)}
            page = self._json("GET", _path(name, "trials"), query)
            rows += page["trials"]
            if not page["trials"] or len(rows) >= page["total"]:
                return rows

    def confirm(self, name: str, n_seeds: int | None) -> dict[str, Any]:
        """Ask for a confirmation; return the study's status."""
        body = {} if n_seeds is None else {"n_seeds": n_seeds}
        return self.with_storage(self._json("POST", _path(name, "confirm"), body=body))

    def set_state(self, name: str, command: str) -> None:
        """Pause, resume or stop a study."""
        self._json("POST", _path(name, command))

    def export(self, name: str, query: Mapping[str, Any]) -> str:
        """Return the best λ as text."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._send("GET", _path(name, "best"), given).decode()

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: object = None,
    ) -> dict[str, Any]:
        text = self._send(method, path, query or {}, body)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ServiceError(f"{self.url} answers, but not as `tuner serve` does")
        return answer

    def _send(self, method: str, path: str, query: Mapping[str, Any], body: object = None) -> bytes:
        url = self.url.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "*/*", "User-Agent": "lambda-tuner"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with build_opener(url, _NoRedirect()).open(
                request, timeout=_TIMEOUT_SECONDS
            ) as response:
                answer: bytes = response.read(_LARGEST_ANSWER_BYTES)
                return answer
        except urllib.error.HTTPError as error:
            self._refused(error, method, path)
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(f"{self.url} cannot be reached: {explain_failure(error)}") from error

    def _refused(self, error: urllib.error.HTTPError, method: str, path: str) -> NoReturn:
        """Raise what the command line would say of the same, in one line."""
        with error:
            detail = read_detail(error)
        if 300 <= error.code < 400:
            target = error.headers.get("Location", "nowhere")
            raise ServiceError(f"{self.url} redirects to {target}: give the address itself")
        if error.code == 401:
            how = "its token is not accepted" if self.token else "it wants a token"
            raise ServiceError(f"{self.url}: {how} ({detail}); see --token-file and TUNER_TOKEN")
        if error.code == 409:
            is_creation = (method, path) == ("POST", "/v1/studies")
            raise (ContradictionError if is_creation else NoResultError)(detail)
        if error.code == 422:
            raise UsageError(detail)
        if error.code == 404:
            raise StudyNotFoundError(f"{self.url}: {detail}")
        raise ServiceError(f"{self.url} refuses ({error.code}): {detail}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would send the token along, wherever it leads."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, *_: Any
    ) -> None:
        """Return nothing, so that the answer is an error."""


def _path(name: str, more: str = "") -> str:
    return f"/v1/studies/{quote(name, safe='/')}" + (f"/{more}" if more else "")
