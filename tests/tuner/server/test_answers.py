"""What every answer carries: headers, policies, documents for errors; and how artifacts come."""

from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from sqlalchemy import text
from starlette.testclient import TestClient

from storage import Role, create_storage, create_token
from tests.tuner.server.conftest import ORIGIN, Served, add_study
from tuner.server.app import create_service
from tuner.server.settings import ServerSettings

_PATHS = [
    "/",
    "/healthz",
    "/login",
    "/server.css",
    "/readers.css",
    "/dashboard",
    "/dashboard/studies/1",
    "/static/bundle.js",
    "/api/studies",
    "/api/studies/99",
    "/csv/1",
    "/nowhere",
    "/api//studies",
]


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize("token", ["", "viewer"])
def test_every_answer_has_the_headers(served: Served, path: str, token: str) -> None:
    """Answers, refusals and errors alike: not framed, not sniffed, not kept, and with a policy."""
    headers = served.request("GET", path, token=token).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers
    policies = headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "frame-ancestors 'none'" in policies[0]
    is_page = path.startswith("/dashboard")
    assert ("script-src" in policies[0]) == is_page
    assert "script-src 'self' 'unsafe-inline'" not in policies[0]


def test_refusals_are_problem_documents(served: Served) -> None:
    """Programs read why, in one form, whoever refused."""
    for method, path, token, status in (
        ("GET", "/nowhere", "viewer", 404),
        ("GET", "/api/studies", "", 401),
        ("DELETE", "/api/studies/1", "viewer", 403),
        ("DELETE", "/healthz", "admin", 405),
        ("GET", "/a//b", "", 400),
    ):
        response = served.request(method, path, token=token)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert set(response.json()) == {"type", "title", "status", "detail"}
        assert response.json()["status"] == status


def test_page_of_the_dashboard_says_who_is_signed_in(served: Served) -> None:
    """And its bundle is a file, not text within the page."""
    page = served.request("GET", "/dashboard", session="operator").text
    assert "operator · operator" in page
    assert 'action="/logout"' in page
    assert 'src="/static/bundle.js"' in page


def test_stranger_with_a_browser_is_led_to_the_form_and_back(served: Served) -> None:
    """With path and query, which do not become anything else on the way."""
    path = "/dashboard/studies/1?a=b%26c&d=//evil"
    response = served.request("GET", path, headers={"Accept": "text/html,*/*"})
    assert response.status_code == 303
    page = served.client.get(response.headers["location"]).text
    assert 'value="/dashboard/studies/1?a=b%26c&amp;d=//evil"' in page


def test_artifact_is_a_download_and_nothing_else(tmp_path: Path) -> None:
    """A page that somebody uploaded neither shows nor runs on our origin."""
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    add_study(url)
    storage = create_storage(url)
    _, secret = create_token(storage.engine, Role.VIEWER)
    store = FileSystemArtifactStore(tmp_path)
    study = optuna.load_study(study_name="digits", storage=storage)
    page = tmp_path / "page.html"
    page.write_text("<script>alert(document.cookie)</script>")
    artifact_id = upload_artifact(artifact_store=store, file_path=str(page), study_or_trial=study)
    service = create_service(ServerSettings(url), store)
    with TestClient(service.asgi, base_url=ORIGIN) as client:
        bearer = {"Authorization": f"Bearer {secret}"}
        for path in (f"/artifacts/1/{artifact_id}", f"/artifacts/1/{artifact_id}/"):
            response = client.get(path, headers=bearer)
            assert response.status_code == 200
            assert response.text == page.read_text()
            assert response.headers["content-type"] == "application/octet-stream"
            assert response.headers["content-disposition"] == "attachment"
            assert response.headers["content-security-policy"].endswith(
                "sandbox; frame-ancestors 'none'"
            )
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in response.headers
        assert client.get(f"/artifacts/1/{artifact_id}").status_code == 401
    for engine in (storage.engine, service.storage.engine):
        engine.dispose()


def test_database_that_fails_is_503_without_details(served: Served) -> None:
    """Whoever asks is told to come back; what the driver said is for the log."""
    with served.engine.begin() as connection:
        connection.execute(text("ALTER TABLE tuner_tokens RENAME TO gone"))
    try:
        response = served.request("GET", "/api/studies", token="viewer")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert "tuner_tokens" not in response.text
        assert served.request("GET", "/healthz").status_code == 200
    finally:
        with served.engine.begin() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO tuner_tokens"))


def test_body_in_many_pieces_is_limited_too(served: Served) -> None:
    """What does not announce its size is counted."""
    large = (b"x" * 1024 for _ in range(1025))
    response = served.request("PUT", "/api/studies/1/note", token="admin", content=large)
    assert response.status_code == 413
