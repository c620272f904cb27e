"""A dashboard shows studies as they are now, and answers what it does not expect."""

import io
import json
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

from storage import create_storage
from tuner.dashboard import build_app


class _Client:
    """Asks a dashboard, writable, for a path."""

    def __init__(self, url: str) -> None:
        self._app = build_app(url, is_writable=True)

    def ask(self, path: str, method: str = "GET", body: object = None) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        sent = b"" if body is None else json.dumps(body).encode()
        errors = io.StringIO()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path.partition("?")[0],
            "QUERY_STRING": path.partition("?")[2],
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(sent)),
            "HTTP_ACCEPT_ENCODING": "",
            "wsgi.input": io.BytesIO(sent),
            "wsgi.errors": errors,
        }
        setup_testing_defaults(environ)
        status = []
        parts = self._app(environ, lambda said, _headers, _info=None: status.append(said))
        answer = b"".join(parts)
        assert errors.getvalue() == ""
        return int(status[0].split()[0]), answer


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Return a file with a study of some trials."""
    _add(sqlite_url, "first", [100.0, 101.0, 102.0])
    return sqlite_url


def _add(url: str, name: str, values: list[float]) -> None:
    study = optuna.create_study(storage=create_storage(url), study_name=name)
    for value in values:
        study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), value)


@pytest.mark.parametrize("name", ["other", "first"])
def test_deleted_study_is_not_shown_under_the_next_of_its_id(url: str, name: str) -> None:
    """Deleted by another process, on SQLite; neither in pages nor in the table for download."""
    client = _Client(url)
    assert client.ask("/api/studies/1")[0] == 200
    assert b"101" in client.ask("/csv/1")[1]
    optuna.delete_study(study_name="first", storage=create_storage(url))
    assert client.ask("/api/studies/1")[0] == 404
    _add(url, name, [7.0, 8.0])
    shown = json.loads(client.ask("/api/studies/1")[1])
    assert shown["name"] == name
    assert [trial["values"] for trial in shown["trials"]] == [[7.0], [8.0]]
    assert [trial["values"] for trial in shown["best_trials"]] == [[7.0]]
    assert b"101" not in client.ask("/csv/1")[1]


def test_study_is_not_mixed_with_one_that_nobody_has_looked_for_between(url: str) -> None:
    """Deleted and made anew between two looks."""
    client = _Client(url)
    client.ask("/api/studies/1")
    optuna.delete_study(study_name="first", storage=create_storage(url))
    _add(url, "first", [7.0])
    shown = json.loads(client.ask("/api/studies/1")[1])
    assert [trial["values"] for trial in shown["trials"]] == [[7.0]]


_IDS = ["0", "-1", "2", "999999", str(2**31), str(2**63), str(2**64), "9" * 40]
_READ = ["/api/studies/{}", "/api/studies/{}/param_importances", "/csv/{}"]
_READ += [f"/api/studies/{{}}/plot/{kind}" for kind in ("contour", "slice", "edf", "rank", "x")]
_READ += ["/artifacts/{}/0a", "/artifacts/{}/1/0a"]


@pytest.mark.parametrize("path", _READ)
def test_study_that_is_not_there_is_no_error_of_the_dashboards(url: str, path: str) -> None:
    """Of any id: the answer is 404."""
    client = _Client(url)
    assert {client.ask(path.format(each))[0] for each in _IDS} == {404}


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "", "%00", "9" * 5000, "1_0", "%EF%BC%91"])
def test_odd_question_for_later_trials_is_refused(url: str, after: str) -> None:
    """By 400, not by a failure."""
    assert _Client(url).ask(f"/api/studies/1?after={after}")[0] == 400


_BODIES: list[object] = [None, [], 1, "x", {}, {"version": [], "body": {}}, {"study_name": []}]
_BODIES += [{"user_attrs": [1]}, {"state": "complete", "values": ["x"]}, {"state": 7}]
_BODIES += [{"candidates": 5, "mode": 1, "clicked": []}, {"study_name": "y", "directions": [1]}]
_WRITTEN = [
    *(("POST", "/api/studies"), ("POST", "/api/studies/1/rename"), ("PUT", "/api/studies/1/note")),
    *(("POST", "/api/studies/1/preference"), ("POST", "/api/studies/1/preference/none")),
    *(("POST", "/api/trials/1/tell"), ("POST", "/api/trials/99/tell")),
    *(("POST", "/api/trials/1/user-attrs"), ("POST", "/api/trials/99/user-attrs")),
    *(("PUT", "/api/studies/1/1/note"), ("POST", "/api/studies/1/1/skip")),
]


@pytest.mark.parametrize(("method", "path"), _WRITTEN)
def test_odd_body_is_refused(url: str, method: str, path: str) -> None:
    """By a status of the asker's, whatever the body is."""
    client = _Client(url)
    found = {client.ask(path, method, body)[0] for body in _BODIES}
    assert {status for status in found if status >= 500} == set()
