"""Every route, from the route tables: without credentials, with bad ones, with each role's."""

import re
from collections.abc import Iterator

import pytest

from storage import Role, list_audit
from tests.tuner.server.conftest import ORIGIN, Served
from tuner.server.dashboard import READING_RULES, required_role
from tuner.server.gate import PUBLIC_PATHS
from tuner.server.origins import METHODS

# What the dashboard has. A version of it with another route fails here: say who may use it.
_DASHBOARD = {
    "viewer": {
        "GET /",
        "GET /api/meta",
        "GET /api/studies",
        "GET /api/studies/<study_id:int>",
        "GET /api/studies/<study_id:int>/param_importances",
        "GET /api/studies/<study_id:int>/plot/<plot_type>",
        "GET /artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "GET /artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "GET /csv/<study_id:int>",
        "GET /dashboard<:re:(/.*)?>",
        "GET /favicon.ico",
        "GET /incompatible-rdb-schema",
        "GET /static/<filename:path>",
    },
    "admin": {
        "DELETE /api/artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "DELETE /api/artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "DELETE /api/studies/<study_id:int>",
        "DELETE /api/studies/<study_id:int>/preference/<history_id>",
        "POST /api/artifacts/<study_id:int>",
        "POST /api/artifacts/<study_id:int>/<trial_id:int>",
        "POST /api/llm/generate_plotly_graph_query",
        "POST /api/llm/re_generate_plotly_graph_query",
        "POST /api/llm/trial_filter_query",
        "POST /api/studies",
        "POST /api/studies/<study_id:int>/<trial_id:int>/skip",
        "POST /api/studies/<study_id:int>/preference",
        "POST /api/studies/<study_id:int>/preference/<history_id>",
        "POST /api/studies/<study_id:int>/rename",
        "POST /api/trials/<trial_id:int>/tell",
        "POST /api/trials/<trial_id:int>/user-attrs",
        "POST /incompatible-rdb-schema",
        "PUT /api/studies/<study_id:int>/<trial_id:int>/note",
        "PUT /api/studies/<study_id:int>/note",
        "PUT /api/studies/<study_id:int>/preference_feedback_component",
    },
}
_PUBLIC = {
    "GET /healthz",
    "GET /login",
    "GET /readers.css",
    "GET /readyz",
    "GET /server.css",
    "GET /server.svg",
    "POST /login",
    "POST /logout",
}
# Our own that are not public, each with the least role; others add theirs.
_OWN: dict[str, str] = {
    "GET /metrics": "viewer",
    "GET /v1/openapi.json": "viewer",
    "GET /v1/studies": "viewer",
    "POST /v1/studies": "operator",
    "GET /v1/studies/{name:path}": "viewer",
    "PATCH /v1/studies/{name:path}": "operator",
    "DELETE /v1/studies/{name:path}": "admin",
    "GET /v1/studies/{name:path}/best": "viewer",
    "GET /v1/studies/{name:path}/events": "viewer",
    "GET /v1/studies/{name:path}/trials": "viewer",
    "GET /v1/studies/{name:path}/workers": "viewer",
    "POST /v1/studies/{name:path}/confirm": "operator",
    "POST /v1/studies/{name:path}/pause": "operator",
    "POST /v1/studies/{name:path}/resume": "operator",
    "POST /v1/studies/{name:path}/stop": "operator",
}

_EXAMPLES = {"plot_type": "slice", "history_id": "h", "filename": "bundle.js"}
_BAD = [{}, *({"token": name} for name in ("unknown", "expired", "revoked"))]


def _routes(served: Served) -> Iterator[tuple[str, str, Role]]:
    """Yield method, path with values filled in, and least role of all that is not public."""
    for route in served.service.dashboard.bottle.routes:
        yield route.method, _fill(route.rule), required_role(route)
    for rule, role in _OWN.items():
        method, _, path = rule.partition(" ")
        yield method, _fill(path), Role(role)


def _fill(rule: str) -> str:
    """Return a path that the rule matches and nothing is found under, so that nothing is lost."""
    path = re.sub(r"<artifact_id:re:.*?\+>", "abc-0", rule).replace("<:re:(/.*)?>", "/studies/1")
    path = re.sub(r"<\w+:int>", "9999", path)
    return re.sub(
        r"<(\w+)(:path)?>|{(\w+)(?::path)?}", lambda m: _EXAMPLES.get(m[1] or m[3], "none"), path
    )


def _own_rules(served: Served) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in _flatten(served.service.routes.routes)
        for method in route.methods - {"HEAD"}
    }


def _flatten(routes: list) -> Iterator:  # type: ignore[type-arg]
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from _flatten(inner.routes)


def test_every_route_is_one_that_somebody_has_decided_on(served: Served) -> None:
    """A route that is new, in the dashboard or here, has to be given a role first."""
    found: dict[str, set[str]] = {"viewer": set(), "admin": set()}
    for route in served.service.dashboard.bottle.routes:
        found[required_role(route)].add(f"{route.method} {route.rule}")
    assert found == _DASHBOARD
    assert {rule.partition(" ")[2] for rule in _DASHBOARD["viewer"]} == READING_RULES
    assert _own_rules(served) == _PUBLIC | set(_OWN)
    assert {rule.partition(" ")[2] for rule in _PUBLIC} == PUBLIC_PATHS


@pytest.mark.parametrize("credentials", _BAD, ids=["none", "unknown", "expired", "revoked"])
def test_every_route_refuses_strangers(served: Served, credentials: dict[str, str]) -> None:
    """Nobody gets anything without good credentials, and no write is recorded."""
    for method, path, _ in _routes(served):
        response = served.request(method, path, **credentials)
        assert response.status_code == 401, f"{method} {path}"
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert list_audit(served.engine) == []


@pytest.mark.parametrize("kind", ["token", "session"])
@pytest.mark.parametrize("role", list(Role))
def test_every_route_lets_exactly_its_roles_pass(served: Served, kind: str, role: Role) -> None:
    """A role gets what its own and lesser roles may have; the rest is refused."""
    own = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"} if kind == "session" else {}
    for method, path, least in _routes(served):
        response = served.request(method, path, headers=own, json={}, **{kind: role.value})
        is_refused = response.status_code in (401, 403)
        assert is_refused == (not role.includes(least)), f"{method} {path}"


@pytest.mark.parametrize("origin", [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_every_write_by_cookie_needs_a_page_of_ours(served: Served, origin: dict[str, str]) -> None:
    """A page elsewhere that sends the browser here changes nothing."""
    for method, path, _ in _routes(served):
        if method != "GET":
            response = served.request(method, path, headers=origin, session="admin", json={})
            assert response.status_code == 403, f"{method} {path}"
    assert list_audit(served.engine) == []


def test_every_refusal_of_a_method_names_those_there_are(served: Served) -> None:
    """Of each path, `Allow` has what is known, or answered by another route, and nothing else."""
    known: dict[str, set[str]] = {}
    public = (rule.split(" ") for rule in _PUBLIC)
    for method, path, *_ in (*_routes(served), *public):
        known.setdefault(path, set()).add(method)
    for path, methods in known.items():
        others = set(METHODS) - methods - {"HEAD"}
        answers = {m: served.request(m, path, token="admin", json={}) for m in others}
        refused = {m: answer for m, answer in answers.items() if answer.status_code == 405}
        for answer in refused.values():
            allowed = [m for m in re.split(", ?", answer.headers["allow"]) if m != "HEAD"]
            assert sorted(allowed) == sorted(set(METHODS) - set(refused) - {"HEAD"}), path


def test_every_write_that_passes_is_in_the_audit(served: Served) -> None:
    """Who, what and with which outcome, for each of the dashboard's writes."""
    writes = [route for route in _routes(served) if route[0] != "GET"]
    for method, path, _ in writes:
        served.request(method, path, token="admin", json={})
    entries = list_audit(served.engine)[::-1]
    assert [entry.action.split(" ", 1)[1] for entry in entries] == [
        f"{method} {path}" for method, path, _ in writes
    ]
    (actor,) = {entry.actor for entry in entries}
    assert re.fullmatch(r"token:\d+:a-admin", actor)
