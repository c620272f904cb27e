"""What somebody who wants in would try, byte by byte against the service as a process."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import Role, create_storage, create_token, list_audit
from tests.tuner.server.conftest import (
    DIGITS,
    PASSWORD,
    Accounts,
    Server,
    StartServer,
    add_accounts,
    add_study,
)
from tuner.server.shares import MOST_OF_ONE
from tuner.study import create_or_resume


class Target:
    """A running service, its secrets, and a way to send it any bytes."""

    def __init__(self, server: Server, accounts: Accounts, url: str) -> None:
        self.server = server
        self.accounts = accounts
        self.url = url

    def send(self, *lines: str, body: bytes = b"", host: str = "localhost") -> tuple[int, str]:
        """Send a request's lines as they are; return status and all of the answer, 0 for none."""
        head = "\r\n".join([lines[0], f"Host: {host}", "Connection: close", *lines[1:], "", ""])
        with self.connect() as connection:
            connection.sendall(head.encode("latin-1") + body)
            answer = _read(connection)
        return (int(answer.split(" ", 2)[1]) if answer.startswith("HTTP/") else 0), answer

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=200)

    def bearer(self, role: str) -> str:
        """Return the header of a token."""
        return f"Authorization: Bearer {self.accounts.tokens[role]}"

    def cookie(self, role: str) -> str:
        """Return the header of a session."""
        return f"Cookie: tuner_session={self.accounts.sessions[role]}"

    def has_study(self) -> bool:
        """Tell whether the study is still there."""
        _, answer = self.send("GET /api/studies HTTP/1.1", self.bearer("admin"))
        return ': "digits"' in answer or '"digits"' in answer


def _read(connection: socket.socket) -> str:
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except (ConnectionResetError, TimeoutError):
        pass
    return b"".join(parts).decode("latin-1")


@pytest.fixture(scope="module")
def target(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Return a service with a study and accounts."""
    url = f"sqlite:///{tmp_path_factory.mktemp('target') / 'tuner.db'}"
    add_study(url)
    engine = create_storage(url).engine
    accounts = add_accounts(engine)
    yield Target(start_server(url), accounts, url)
    engine.dispose()


@pytest.mark.parametrize(
    "line",
    [
        "GET /healthz/../api/studies HTTP/1.1",
        "GET /healthz/%2e%2e/api/studies HTTP/1.1",
        "GET /login/..%2fapi/studies HTTP/1.1",
        "GET //api/studies HTTP/1.1",
        "GET /api//studies HTTP/1.1",
        "GET /./api/studies HTTP/1.1",
        "GET /%61pi/studies HTTP/1.1",
        "GET /api%2Fstudies HTTP/1.1",
        "GET /api/studies/ HTTP/1.1",
        "GET /api/studies; HTTP/1.1",
        "GET /login;/api/studies HTTP/1.1",
        "GET /healthz%00/api/studies HTTP/1.1",
        "GET /healthz%0d%0a/api/studies HTTP/1.1",
        "GET /healthz\\..\\api\\studies HTTP/1.1",
        "GET /static/../api/studies HTTP/1.1",
        "GET /static/..%2f..%2f..%2f..%2fetc/passwd HTTP/1.1",
        "GET /static/%2e%2e/__init__.py HTTP/1.1",
        "GET /static/bundle.js HTTP/1.1",
        "GET /LOGIN/../api/studies HTTP/1.1",
        "GET http://localhost/api/studies HTTP/1.1",
        "GET /login?/../api/studies HTTP/1.0",
        "get /api/studies HTTP/1.1",
        "GeT /api/studies HTTP/1.1",
        "HEAD /api/studies HTTP/1.1",
        "OPTIONS /api/studies HTTP/1.1",
        "TRACE /api/studies HTTP/1.1",
        "CONNECT localhost:80 HTTP/1.1",
        "PROPFIND /api/studies HTTP/1.1",
        "GET /docs HTTP/1.1",
        "GET /openapi.json HTTP/1.1",
        "GET /csv/1 HTTP/1.1",
    ],
)
def test_no_spelling_of_a_request_lets_a_stranger_read(target: Target, line: str) -> None:
    """Paths and methods written oddly end in a refusal, or in the page to sign in."""
    status, answer = target.send(line)
    assert status in (400, 401, 404, 405) or "<title>Sign in" in answer
    assert "digits" not in answer
    assert "study_name" not in answer
    assert "root:" not in answer


@pytest.mark.parametrize(
    "lines",
    [
        ["DELETE /api/studies/1 HTTP/1.1"],
        ["delete /api/studies/1 HTTP/1.1"],
        ["DeLeTe /api/studies/1 HTTP/1.1"],
        ["DELETE //api/studies/1 HTTP/1.1"],
        ["DELETE /api/studies/1/ HTTP/1.1"],
        ["DELETE /api/studies/%31 HTTP/1.1"],
        ["DELETE /api/studies/1?x=/healthz HTTP/1.1"],
        ["DELETE /healthz/../api/studies/1 HTTP/1.1"],
        ["GET /api/studies/1 HTTP/1.1", "X-HTTP-Method-Override: DELETE"],
        ["GET /api/studies/1?_method=DELETE HTTP/1.1", "X-HTTP-Method: DELETE"],
        ["POST /api/studies/1 HTTP/1.1", "X-Method-Override: DELETE", "Content-Length: 0"],
        ["PATCH /api/studies/1 HTTP/1.1", "Content-Length: 0"],
        ["DELETE /api/studies/1 HTTP/1.1", "X-Forwarded-User: admin", "Remote-User: admin"],
        ["DELETE /login HTTP/1.1"],
        [
            "GET /healthz HTTP/1.1",
            "X-Original-URL: /api/studies/1",
            "X-Rewrite-URL: /api/studies/1",
        ],
    ],
)
def test_no_spelling_of_a_request_lets_a_viewer_write(target: Target, lines: list[str]) -> None:
    """The study is still there, whatever the request looked like."""
    own = "Origin: http://localhost"
    for credentials in (target.bearer("viewer"), target.cookie("viewer")):
        status, _ = target.send(*lines, credentials, own)
        assert status < 500
    assert target.has_study()


def test_authorization_header_is_all_that_counts(target: Target) -> None:
    """A program's token is neither completed nor replaced by a cookie, nor by a second header."""
    own = "Origin: http://localhost"
    reading, deleting = "GET /api/studies HTTP/1.1", "DELETE /api/studies/1 HTTP/1.1"
    admin = target.cookie("admin")
    assert target.send(reading, "Authorization: Bearer tuner_wrong", admin)[0] == 401
    assert target.send(reading, "Authorization: Basic YWRtaW46eA==", admin)[0] == 401
    assert target.send(reading, "Authorization:", admin)[0] == 401
    assert target.send(deleting, target.bearer("viewer"), admin, own)[0] == 403
    assert target.send(reading, target.bearer("viewer"), target.bearer("admin"))[0] == 401
    token, session = target.accounts.tokens["admin"], target.accounts.sessions["admin"]
    assert target.send(f"GET /api/studies?token={token}&access_token={token} HTTP/1.1")[0] == 401
    assert target.send(reading, f"Cookie: tuner_session={token}")[0] == 401
    assert target.send(reading, f"Authorization: Bearer {session}")[0] == 401
    assert target.has_study()


def test_second_cookie_of_the_name_makes_both_count_for_nothing(target: Target) -> None:
    """Another page of this host cannot slip its own session under somebody's."""
    secret = target.accounts.sessions["admin"]
    for cookies in (
        f"Cookie: tuner_session={secret}; tuner_session=planted",
        f"Cookie: tuner_session=planted\r\nCookie: tuner_session={secret}",
    ):
        assert target.send("GET /api/studies HTTP/1.1", cookies)[0] == 401
    odd = f'Cookie: a[b]=c; "; =; tuner_session={secret}; ü=1; x'
    assert target.send("GET /api/studies HTTP/1.1", odd)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil@localhost:x", ""])
def test_foreign_name_for_this_machine_is_refused(target: Target, host: str) -> None:
    """A page that points its own name at 127.0.0.1 reads nothing, not even with a good token."""
    status, answer = target.send("GET /api/studies HTTP/1.1", target.bearer("admin"), host=host)
    assert status in (400, 403)
    assert "digits" not in answer


def test_body_of_a_stranger_is_not_waited_for(target: Target) -> None:
    """Who has not signed in gets the refusal for the head alone, and a small form at most."""
    announced = "Content-Length: 1048575"
    assert target.send("PUT /api/studies/1/note HTTP/1.1", announced)[0] == 401
    assert target.send("POST /login HTTP/1.1", announced)[0] == 413
    assert target.send("POST /login HTTP/1.1", "Content-Length: 100", body=b"name=x")[0] == 408


def test_bodies_of_strangers_take_no_memory(target: Target) -> None:
    """Three hundred connections that send a megabyte each."""
    before = _resident_bytes(target)
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
    connections = [target.connect() for _ in range(300)]
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(head + b"x" * 1048575)
    assert _resident_bytes(target) - before < 100_000_000
    assert target.send("GET /healthz HTTP/1.1")[0] == 200
    for connection in connections:
        connection.close()


def _resident_bytes(target: Target) -> int:
    status = Path(f"/proc/{target.server.popen.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def test_idle_connections_keep_nobody_out(target: Target) -> None:
    """More than there may be, with nothing or half a head: who has been idle longest makes room."""
    connections = []
    for i in range(1100):
        connection = target.connect()
        connections.append(connection)
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /healthz HTT" if i % 2 else b"")
    assert target.send("GET /healthz HTTP/1.1")[0] == 200
    assert target.has_study()
    assert _read(connections[0]) == ""
    for connection in connections:
        connection.close()


def test_head_that_does_not_end_is_closed(target: Target) -> None:
    """Also one that comes byte by byte, and the second on a connection."""
    with target.connect() as slow, target.connect() as second:
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert second.recv(65536).startswith(b"HTTP/1.1 200")
        second.sendall(b"GET /hea")
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 (whichever is refused)
            while True:
                slow.sendall(b"G")
                time.sleep(0.05)
        assert _read(second) in ("", '{"status":"ok"}')


def _ask_and_read_nothing(target: Target, n: int) -> list[socket.socket]:
    """Ask for a large file over as many connections that take little at a time."""
    ask = f"GET /static/bundle.js HTTP/1.1\r\nHost: localhost\r\n{target.bearer('viewer')}\r\n\r\n"
    connections = []
    for _ in range(n):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", target.server.port))
        connection.sendall(ask.encode())
        connections.append(connection)
    return connections


def test_answer_that_nobody_reads_holds_up_nobody_else(target: Target) -> None:
    """One who takes nothing holds some of the dashboard's threads; the others serve."""
    connections = _ask_and_read_nothing(target, 8)
    for connection in connections[:4]:
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
    assert target.has_study()  # as an admin, by a thread that is left
    assert target.send("GET /readyz HTTP/1.1")[0] == 200
    for connection in connections:
        connection.close()


@pytest.mark.long
def test_answer_that_nobody_reads_is_given_up(target: Target) -> None:
    """After half a minute without progress; so the reader's other requests are answered."""
    connections = _ask_and_read_nothing(target, 6)
    status, _ = target.send("GET /api/studies HTTP/1.1", target.bearer("viewer"))
    while status in (0, 503):
        status, _ = target.send("GET /api/studies HTTP/1.1", target.bearer("viewer"))
    assert status == 200
    for connection in connections:
        connection.close()


def test_one_principal_has_only_a_share_of_the_requests(target: Target) -> None:
    """Who follows a study many times over is told to wait; others are not."""
    create_or_resume(create_storage(target.url), "followed", DIGITS, n_trials=20)
    engine = create_storage(target.url).engine
    bearer = f"Authorization: Bearer {create_token(engine, Role.VIEWER)[1]}"
    ask = f"GET /v1/studies/followed/events HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n\r\n"
    connections = [target.connect() for _ in range(MOST_OF_ONE)]
    for connection in connections:
        connection.sendall(ask.encode())
    for connection in connections:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert target.send("GET /v1/studies HTTP/1.1", bearer)[0] == 429
    assert target.send("GET /v1/studies HTTP/1.1", target.bearer("operator"))[0] == 200
    for connection in connections:
        connection.close()


def test_body_that_is_too_large_is_refused_before_it_has_come(target: Target) -> None:
    """Announced or in chunks, from a stranger or not; and the service goes on."""
    announced = "Content-Length: 100000000000"
    admins = (target.bearer("admin"), "Content-Type: application/json", announced)
    assert target.send("POST /login HTTP/1.1", announced)[0] == 413
    assert target.send("PUT /api/studies/1/note HTTP/1.1", *admins)[0] == 413
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    chunked = "Transfer-Encoding: chunked"
    with target.connect() as connection:
        connection.sendall(f"POST /login HTTP/1.1\r\nHost: localhost\r\n{chunked}\r\n\r\n".encode())
        n_sent = 0
        try:
            while n_sent < 500:
                connection.sendall(chunk)
                n_sent += 1
        except OSError:
            pass
        assert n_sent < 500
    assert target.has_study()


def test_chunks_reach_the_dashboard_as_one_body(target: Target) -> None:
    """A client that sends chunks is served as any other."""
    body = json.dumps({"version": 1, "body": "a note"}).encode()
    status, _ = target.send(
        "PUT /api/studies/1/note HTTP/1.1",
        target.bearer("admin"),
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
        body=f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n",
    )
    assert status == 204
    _, answer = target.send("GET /api/studies/1 HTTP/1.1", target.bearer("viewer"))
    assert "a note" in answer


def test_two_lengths_for_one_body_are_refused(target: Target) -> None:
    """No request can be hidden in another's body."""
    status, answer = target.send(
        "POST /login HTTP/1.1",
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\nDELETE /api/studies/1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    assert status == 400
    assert answer.count("HTTP/1.1 ") == 1
    assert "Connection: close" in answer


def test_socket_upgrade_gets_no_socket(target: Target) -> None:
    """There are none here, for strangers nor for others."""
    upgrade = [
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    for more in ([], [target.bearer("viewer")]):
        status, answer = target.send("GET /api/studies HTTP/1.1", *upgrade, *more)
        assert " 101 " not in answer.split("\r\n", 1)[0]
        assert status in (200, 400, 401)


def test_flood_of_sign_ins_is_refused_and_others_are_served(target: Target) -> None:
    """Of many at once a few are looked at; meanwhile those with tokens do not wait for them."""
    form = b"name=operator&password=guess"
    head = (
        "POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
        f"Connection: close\r\nContent-Length: {len(form)}\r\n\r\n"
    ).encode()
    connections = [target.connect() for _ in range(60)]
    for connection in connections:
        connection.sendall(head + form)
    assert target.has_study()
    statuses = [_read(connection).split(" ", 2)[1] for connection in connections]
    for connection in connections:
        connection.close()
    assert set(statuses) <= {"401", "429", "503"}
    assert statuses.count("401") <= 8


def test_log_holds_no_secret(target: Target) -> None:
    """Neither tokens, sessions nor passwords, whichever way they were sent."""
    token = target.accounts.tokens["admin"]
    target.send(f"GET /api/studies?token={token} HTTP/1.1")
    target.send(f"GET /{token} HTTP/1.1", target.bearer("admin"))
    form = f"name=viewer&password=not-{PASSWORD}".encode()
    target.send(
        "POST /login HTTP/1.1",
        "Origin: http://localhost",
        f"Content-Length: {len(form)}",
        body=form,
    )
    logged = target.server.logged()
    assert "Refused to sign in user:viewer" in logged
    secrets = [*target.accounts.tokens.values(), *target.accounts.sessions.values(), PASSWORD]
    assert [secret for secret in secrets if secret in logged] == []
    assert "Traceback" not in logged


_SAYS = ["X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.9"]


@pytest.mark.parametrize(
    ("options", "says", "cookie", "address"),
    [
        ([], _SAYS, " tuner_session=", "127.0.0.1"),
        (["--trusted-proxy", "10.9.9.9"], _SAYS, " tuner_session=", "127.0.0.1"),
        (["--trusted-proxy", "127.0.0.0/8"], _SAYS, " __Host-tuner_session=", "203.0.113.9"),
    ],
    ids=["none", "another", "trusted"],
)
def test_only_a_trusted_proxy_is_believed(
    target: Target,
    start_server: StartServer,
    options: list[str],
    says: list[str],
    cookie: str,
    address: str,
) -> None:
    """Who is behind it and whether the browser speaks TLS; from anybody else it is a lie."""
    through = Target(start_server(target.url, *options), target.accounts, target.url)
    form = f"name=admin&password={PASSWORD.replace(' ', '+')}".encode()
    length = f"Content-Length: {len(form)}"
    _, answer = through.send(
        "POST /login HTTP/1.1", "Origin: http://localhost", *says, length, body=form
    )
    assert f"set-cookie:{cookie}" in answer
    assert ("; Secure" in answer) == cookie.startswith(" __Host-")
    engine = create_storage(target.url).engine
    assert list_audit(engine, limit=1)[0].address == address
    engine.dispose()
    through.server.popen.terminate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_service_ends_in_time_with_connections_open(
    target: Target, start_server: StartServer, number: signal.Signals
) -> None:
    """An idle connection, a half-sent request and a body that never comes delay it little."""
    engine = create_storage(target.url).engine
    create_token(engine, Role.VIEWER)
    engine.dispose()
    through = Target(start_server(target.url), target.accounts, target.url)
    connections = [through.connect() for _ in range(3)]
    connections[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connections[0].recv(1000).startswith(b"HTTP/1.1 200")
    connections[1].sendall(b"GET /healthz HTT")
    connections[2].sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
    began_at = time.monotonic()
    through.server.popen.send_signal(number)
    assert through.server.popen.wait(timeout=200) == 0
    assert time.monotonic() - began_at < 3
    for connection in connections:
        connection.close()
    assert "Traceback" not in through.server.logged()
