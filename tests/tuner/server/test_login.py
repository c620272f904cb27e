"""Signing in: who gets a session, which cookie, and how those who guess are slowed down."""

import statistics
import time
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from storage import (
    Role,
    create_token,
    create_user,
    find_password_hash,
    list_audit,
    remove_user,
    set_password_hash,
)
from storage.logins import OF_ACCOUNT
from tests.tuner.server.conftest import ORIGIN, PASSWORD, Served
from tuner.errors import UsageError
from tuner.server.app import create_service
from tuner.server.origins import client_network, safe_next
from tuner.server.passwords import check_password, find_better_hash, hash_password
from tuner.server.settings import ServerSettings


def _sign_in(served: Served, name: str, password: str = PASSWORD, **given: Any) -> Any:
    headers = {"Origin": ORIGIN} | given.pop("headers", {})
    form = {"name": name, "password": password, **given}
    served.client.cookies.clear()
    return served.client.post("/login", data=form, headers=headers)


def _cookie(response: Any) -> str:
    return str(response.headers["set-cookie"])


def test_right_password_begins_a_session_in_a_closed_cookie(served: Served) -> None:
    """Scripts cannot read it, other sites' forms cannot use it, and it opens the dashboard."""
    response = _sign_in(served, "viewer", next="/dashboard/studies/1")
    assert response.status_code == 303
    assert response.headers["location"] == "/dashboard/studies/1"
    session, device = response.headers.get_list("set-cookie")
    value, *attributes = session.split("; ")
    assert {name.lower() for name in attributes} == {"httponly", "path=/", "samesite=lax"}
    answer = served.client.get("/api/studies", headers={"Cookie": value})
    assert answer.status_code == 200
    value, *attributes = device.split("; ")
    assert set(attributes) == {"HttpOnly", "Max-Age=15552000", "Path=/", "SameSite=lax"}
    served.client.cookies.clear()
    answer = served.client.get("/api/studies", headers={"Cookie": value})
    assert answer.status_code == 401  # it opens nothing


def test_behind_tls_the_cookie_is_for_tls_only(served: Served) -> None:
    """Its name keeps other hosts from setting it, and a cookie set without TLS is not looked at."""
    with TestClient(
        served.service.asgi, base_url="https://localhost", follow_redirects=False
    ) as client:
        form = {"name": "admin", "password": PASSWORD}
        response = client.post("/login", data=form, headers={"Origin": "https://localhost"})
        assert _cookie(response).startswith("__Host-tuner_session=")
        assert "; Secure" in _cookie(response)
        assert response.headers["strict-transport-security"] == "max-age=31536000"
        assert client.get("/api/studies").status_code == 200
        client.cookies.clear()
        plain = {"Cookie": f"tuner_session={served.accounts.sessions['admin']}"}
        assert client.get("/api/studies", headers=plain).status_code == 401


@pytest.mark.parametrize(
    ("name", "password"),
    [("viewer", "wrong"), ("nobody", PASSWORD), ("", ""), ("viewer", ""), ("x" * 500, "y" * 5000)],
)
def test_wrong_name_and_wrong_password_look_the_same(
    served: Served, name: str, password: str
) -> None:
    """The answer does not tell which users there are."""
    response = _sign_in(served, name, password)
    assert response.status_code == 401
    assert "Wrong name or password." in response.text
    assert "set-cookie" not in response.headers


def test_unknown_user_costs_as_much_as_a_wrong_password() -> None:
    """Neither does the time: processor seconds, since this machine may be busy."""

    def cost(password_hash: str | None) -> float:
        began_at = time.process_time()
        assert not check_password(password_hash, "wrong")
        return time.process_time() - began_at

    kept = hash_password(PASSWORD)
    pairs = [(cost(kept), cost(None)) for _ in range(5)]
    known, unknown = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert 0.5 < known / unknown < 2


def test_session_that_was_there_before_is_not_adopted(served: Served) -> None:
    """A cookie planted in somebody's browser does not become their session; their own old ends."""
    planted = {"Cookie": "tuner_session=planted-by-somebody"}
    assert "planted" not in _cookie(_sign_in(served, "viewer", headers=planted))
    old = served.accounts.sessions["admin"]
    _sign_in(served, "viewer", headers={"Cookie": f"tuner_session={old}"})
    assert served.request("GET", "/api/studies", session="admin").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"{ORIGIN}.evil.example"},
        {"Origin": f"http://{ORIGIN.removeprefix('http://')}@evil.example"},
        {"Origin": "http://[::1"},
        {"Origin": f"{ORIGIN}:8080"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_forms_of_other_sites_neither_sign_in_nor_out(
    served: Served, path: str, headers: dict[str, str]
) -> None:
    """Nobody is signed in as somebody else by a link, nor signed out."""
    form = {"name": "viewer", "password": PASSWORD}
    session = served.accounts.sessions["viewer"]
    given = headers | {"Cookie": f"tuner_session={session}"}
    response = served.client.post(path, data=form, headers=given)
    assert response.status_code == 403
    assert served.request("GET", "/api/studies", session="viewer").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://lab.example.org", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://lab.example.org:8443", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost", "Host": "localhost:80"},
        {"Origin": "https://localhost", "Host": "localhost:443"},
    ],
)
def test_browser_that_knows_its_page_is_ours_is_believed(
    served: Served, headers: dict[str, str]
) -> None:
    """Whatever a proxy has made of Host, and whether somebody names the usual port."""
    assert _sign_in(served, "viewer", headers=headers).status_code == 303


def test_host_that_a_proxy_may_have_changed_is_said_with_the_remedy(served: Served) -> None:
    """A program gets a problem document, a browser a page; neither can be given markup."""
    origin = {"Origin": "http://lab.example.org<b>"}
    told = _sign_in(served, "viewer", headers=origin)
    assert "proxy_set_header Host $http_host;" in told.json()["detail"]
    page = _sign_in(served, "viewer", headers={**origin, "Accept": "text/html"})
    assert page.status_code == 403
    assert "lab.example.org&lt;b&gt;, while Host says localhost;" in page.text
    assert "proxy_set_header Host $http_host;" in page.text


def test_below_a_path_cookie_and_redirects_stay_below_it(served: Served) -> None:
    """Other services of the host are not sent the session, and nobody is led to them."""
    service = create_service(ServerSettings(served_url(served), root_path="/a/tuner"))
    with TestClient(service.asgi, base_url="https://localhost", follow_redirects=False) as client:
        form = {"name": "viewer", "password": PASSWORD, "next": "/dashboard/studies/1"}
        own = {"Origin": "https://localhost"}
        response = client.post("/a/tuner/login", data=form, headers=own)
        assert response.headers["location"] == "/a/tuner/dashboard/studies/1"
        assert _cookie(response).startswith("__Secure-tuner_session=")
        assert "; Path=/a/tuner;" in _cookie(response)
        assert client.get("/a/tuner/api/studies").status_code == 200
        assert client.get("/a/tuner/").headers["location"] == "/a/tuner/dashboard"
        assert client.get("/a/tunerx/api/studies").status_code == 401  # not below, no cookie
        assert client.get("/a/tuner/a/tuner/login").status_code == 404
        response = client.post("/a/tuner/logout", headers=own)
        assert response.headers["location"] == "/a/tuner/login"
        assert client.get("/a/tuner/api/studies").status_code == 401
    service.storage.engine.dispose()


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/a//evil.example",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x=1\r\nSet-Cookie: y=1",
        "/\tevil",
        " //evil.example",
        "https:evil.example",
        "/dashboard/../../x",
        "/login?next=/login",
        "/logout",
        "",
        "evil",
        "/ü",
        "//[",
    ],
)
def test_target_of_another_site_is_none(target: str) -> None:
    """Whatever `next` says, the way leads to a path of ours."""
    assert safe_next(target) == "/dashboard"


def test_after_signing_in_one_stays_on_this_site(served: Served) -> None:
    """A link to the form cannot lead elsewhere, nor add headers."""
    response = _sign_in(served, "viewer", next="//evil.example/\r\nSet-Cookie: y=1")
    assert response.headers["location"] == "/dashboard"
    assert _cookie(response).startswith("tuner_session=")
    assert "y=1" not in _cookie(response)


def test_page_shows_what_it_was_given_as_text(served: Served) -> None:
    """Neither name nor target becomes markup."""
    response = _sign_in(served, '"><script>alert(1)</script>', "wrong")
    assert "<script>" not in response.text
    page = served.client.get("/login", params={"next": '/"><script>'})
    assert "<script>" not in page.text


def test_guessing_is_slowed_down_even_with_the_right_password_at_last(served: Served) -> None:
    """After some failures one has to wait, and is told for how long; others are let in."""
    for _ in range(OF_ACCOUNT.n_free):
        assert _sign_in(served, "viewer", "wrong").status_code == 401
    assert _sign_in(served, "viewer", "wrong").status_code == 401
    response = _sign_in(served, "viewer")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert "try again in 1 s" in response.text
    assert _sign_in(served, "operator").status_code == 303


def test_sign_ins_are_in_the_audit_without_what_strangers_typed(served: Served) -> None:
    """A name that nobody has may be a password in the wrong field."""
    _sign_in(served, "viewer")
    _sign_in(served, "viewer", "wrong")
    _sign_in(served, "my-secret-password", "x")
    entries = [(entry.actor, entry.action) for entry in list_audit(served.engine)]
    assert entries == [
        ("nobody", "sign in: refused"),
        ("user:viewer", "sign in: refused"),
        ("user:viewer", "sign in"),
    ]


def test_sign_out_is_in_the_audit_once(served: Served) -> None:
    """Of whom it was; a cookie that is nobody's is no entry."""
    for _ in range(2):
        headers = {"Origin": ORIGIN}
        assert served.request("POST", "/logout", session="viewer", headers=headers).is_redirect
    (entry,) = list_audit(served.engine)
    assert (entry.actor, entry.action) == ("user:viewer", "sign out")


def test_form_is_limited_and_need_not_be_sound(served: Served) -> None:
    """Too large, not a form, not text: refused, never an error of the server's."""
    headers = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
    for body, status in (
        (b"name=" + b"x" * 10_000, 413),
        (b"&".join(b"a=1" for _ in range(50)), 400),
        (b"\xff\xfe\x00", 401),
        (b"", 401),
        (b"name=%00&password=%00", 401),
    ):
        response = served.client.post("/login", content=body, headers=headers)
        assert response.status_code == status, body[:20]


def test_password_can_be_written_in_both_forms_of_unicode() -> None:
    """Keyboards differ in how they compose a letter."""
    assert check_password(hash_password("pässwörter!!"), "pa\u0308sswo\u0308rter!!")


def test_password_of_bad_length_is_refused() -> None:
    """Too short is no secret, too long only costs time."""
    for password in ("12345678901", "x" * 1025):
        with pytest.raises(UsageError, match="12 to 1024 characters"):
            hash_password(password)


def test_weaker_hash_is_replaced_when_its_user_signs_in(served: Served) -> None:
    """Hashes made with what was once enough become as strong as new ones."""
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=256, parallelism=1).hash(PASSWORD)
    set_password_hash(served.engine, "viewer", weak)
    assert _sign_in(served, "viewer").status_code == 303
    found = find_password_hash(served.engine, "viewer")
    assert found is not None
    assert found[1] != weak
    assert find_better_hash(found[1], PASSWORD) is None
    assert _sign_in(served, "viewer").status_code == 303


_OF_PROXIES = (
    {"X-Forwarded-For": "203.0.113.9"},
    {"X-Forwarded-Host": "localhost"},
    {"Forwarded": "for=127.0.0.1"},
    {"Via": "1.1 lab.example.org"},
    {"X-Real-IP": "203.0.113.9"},
    {"Referer": "https://lab.example.org/dashboard", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "https://lab.example.org"},
)


def test_open_service_closes_for_good_with_the_first_account(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without accounts anybody reads and nobody writes; with one, strangers are out, and stay."""
    engine = served.engine
    tables = ("sessions", "users", "tokens")
    _delete(served, *tables, "former_users")
    service = create_service(ServerSettings(served_url(served)))
    assert service.is_open
    monkeypatch.setattr("tuner.server.auth._ASK_AGAIN_SECONDS", 0.0)
    with TestClient(service.asgi, base_url=ORIGIN) as client:
        assert client.get("/api/studies").status_code == 200
        own = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        refused = client.delete("/api/studies/1", headers=own)
        assert refused.status_code == 403
        assert "nobody has an account" in refused.json()["detail"]
        assert client.get("/api/studies", headers={"Host": "evil.example"}).status_code == 403
        for header in _OF_PROXIES:
            response = client.get("/api/studies", headers=header)
            assert response.status_code == 403
            assert "`tuner user add NAME --role admin`" in response.json()["detail"]
        create_token(engine, Role.VIEWER)
        assert client.get("/api/studies").status_code == 401
        _delete(served, *tables)
        assert client.get("/api/studies").status_code == 401
    service.storage.engine.dispose()


def served_url(served: Served) -> str:
    """Return the URL of the service's database."""
    return served.engine.url.render_as_string(hide_password=False)


def _delete(served: Served, *tables: str) -> None:
    with served.engine.begin() as connection:
        for table in tables:
            connection.execute(text(f"DELETE FROM tuner_{table}"))


def test_service_that_strangers_could_reach_needs_an_account(served: Served) -> None:
    """It refuses to start, with the remedy; a user is enough."""
    _delete(served, "sessions", "users", "tokens")
    settings = ServerSettings(served_url(served), host="0.0.0.0")
    proxied = ServerSettings(served_url(served), trusted_proxies=("127.0.0.1",))
    for one, option in ((settings, "--host 0.0.0.0"), (proxied, "--trusted-proxy")):
        with pytest.raises(UsageError, match=rf"Nobody has.*`tuner user add NAME.*{option}"):
            create_service(one)
    create_user(served.engine, "ann", "hash", Role.VIEWER)
    service = create_service(settings)
    assert not service.is_open
    service.storage.engine.dispose()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/56"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("testclient", "unknown"),
    ],
)
def test_one_client_counts_once(address: str, network: str) -> None:
    """Who has a whole IPv6 network cannot take another address for each guess."""
    assert client_network({"client": (address, 1)}) == network


def test_settings_that_cannot_work_are_refused() -> None:
    """An empty host would mean all addresses; a proxy has an address."""
    with pytest.raises(UsageError, match="--host is empty"):
        ServerSettings("sqlite:///x", host="")
    with pytest.raises(UsageError, match="--trusted-proxy"):
        ServerSettings("sqlite:///x", trusted_proxies=("*",))
    for path in ("tuner", "/tuner/", "/a//b", "/../x", "//evil.example", "/a?b", '/"', "/v1/x"):
        with pytest.raises(UsageError, match="--root-path"):
            ServerSettings("sqlite:///x", root_path=path)


def test_service_that_was_closed_once_stays_closed(served: Served) -> None:
    """Removing the last user opens nothing, also not for who starts it again."""
    _delete(served, "sessions", "users", "tokens", "former_users")
    create_user(served.engine, "ann", "hash", Role.ADMIN)
    remove_user(served.engine, "ann")
    service = create_service(ServerSettings(served_url(served)))
    assert not service.is_open
    service.storage.engine.dispose()


def test_proxy_that_nobody_named_is_said_once(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """All of its clients would count as one network."""
    for _ in range(3):
        served.client.get("/login", headers={"X-Forwarded-For": "203.0.113.9"})
    assert [r.message for r in caplog.records if "--trusted-proxy" in r.message][1:] == []
    assert "--trusted-proxy" in caplog.text
