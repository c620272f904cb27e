"""`tuner.load_best` from a service with accounts, and from servers that do anything else."""

import contextlib
import socketserver
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuner
from storage import Role, create_storage, create_token
from tests.tuner.answers import make_study
from tests.tuner.server.conftest import Server, StartServer
from tuner.errors import AnswerError

_TOKEN = "tuner_t0ken"


pytestmark = pytest.mark.xdist_group("load_best")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUNER_TOKEN", "TUNER_TOKEN_FILE", "TUNER_SERVER", "TUNER_INSECURE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def token_and_server(
    tmp_path_factory: pytest.TempPathFactory, start_server: StartServer
) -> tuple[str, Server]:
    """Return a viewer's token, and a running service with a study `digits`."""
    url = f"sqlite:///{tmp_path_factory.mktemp('answer') / 'tuner.db'}"
    make_study(url, "digits")
    token = create_token(create_storage(url).engine, Role.VIEWER)[1]
    return token, start_server(url)


def _fails(url: str, token: str | None = None) -> str:
    """Return the message of the AnswerError; neither it nor what it stands for has the token."""
    with pytest.raises(AnswerError) as caught:
        tuner.load_best(url, token=token)
    error = caught.value
    said = str(error)
    assert "\n" not in said
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join(traceback.format_exception_only(error)) + repr(error) + repr(error.args)
    assert "t0ken" not in shown
    return said


def test_token_is_taken_as_an_argument_from_a_variable_or_a_file(
    token_and_server: tuple[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `tuner --server` takes it: what is said counts first, then the variable, then the file."""
    token, server = token_and_server
    url = f"{server.url}/v1/studies/digits/best"
    assert "401" in _fails(url)
    assert "TUNER_TOKEN" in _fails(url)
    best = tuner.load_best(url, token=token)
    assert best.study == "digits"
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    monkeypatch.setenv("TUNER_TOKEN_FILE", str(file))
    assert tuner.load_best(url, "digits").lr == best.lr
    monkeypatch.setenv("TUNER_TOKEN", "tuner_wrong")
    assert "The token is unknown, expired or revoked" in _fails(url)
    assert tuner.load_best(url, token=token).lr == best.lr
    monkeypatch.setenv("TUNER_TOKEN", token)
    assert tuner.load_best(url).lr == best.lr
    assert "404 There is no study 'none'" in _fails(f"{server.url}/v1/studies/none/best")
    assert "409" in _fails(f"{url}?rule=min")
    monkeypatch.setenv("TUNER_SERVER", "https://tuner.example.org")
    assert "401" in _fails(url)  # it is another's token
    monkeypatch.delenv("TUNER_TOKEN")
    monkeypatch.delenv("TUNER_SERVER")
    monkeypatch.setenv("TUNER_TOKEN_FILE", str(tmp_path / "none"))
    assert "No such file" in _fails(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://me:{_TOKEN}@127.0.0.1:1/best", "leave out user and password"),
        (f"http://me:{_TOKEN}@localhost/best", "leave out user and password"),
        (f"https://{_TOKEN}@host/best", "leave out user and password"),
        (f"https://me:{_TOKEN}/@host/best", "that is no address"),
        (f"https://me:a#{_TOKEN}@host/best", "that is no address"),
        (f"http://127.0.0.1:1/best?token={_TOKEN}", "refused"),
        (f"ftp://me:{_TOKEN}@host/best", "not at ftp://"),
        ("http://127.0.0.1:1/best", "refused"),
        ("HTTP://127.0.0.1:1/best", "refused"),
        ("http://127.0.0.1:1/a b", "no address"),
        ("http://127.0.0.1:1/ü", "ascii"),
        ("http:///best", "write https://HOST"),
        ("http://[::1/best", "no address"),
        (f"http://{'a' * 70}.example/best", "Cannot read"),
        ("http://tuner.example.org/best", "without TLS anybody on the way could read the token"),
    ],
)
def test_address_that_cannot_be_asked_is_said_without_what_is_secret_in_it(
    url: str, said: str
) -> None:
    """Credentials in an address are refused, and never shown."""
    assert said in _fails(url, _TOKEN)


@pytest.mark.parametrize("token", ["tuner_t0ken\r\nX: y", "tuner_t0ken\n", "tuner_t0kenß"])
def test_token_that_is_none_is_not_sent(token: str) -> None:
    """It adds no header, and is not shown."""
    assert "the token is not one" in _fails("http://127.0.0.1:1/best", token)


class _Raw(socketserver.ThreadingTCPServer):
    """Answers each connection with the same bytes, and keeps what was asked."""

    daemon_threads = True
    allow_reuse_address = True
    answer = b""
    is_silent = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []


class _Handler(socketserver.BaseRequestHandler):
    server: _Raw

    def handle(self) -> None:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += self.request.recv(65536)
        self.server.asked.append(asked.decode("latin-1"))
        with contextlib.suppress(OSError):
            self.request.sendall(self.server.answer)
            while self.server.is_silent and self.request.recv(1):
                pass


@pytest.fixture
def raw() -> Iterator[_Raw]:
    """Return a server that answers with any bytes."""
    with _serving() as server:
        yield server


@contextlib.contextmanager
def _serving() -> Iterator[_Raw]:
    with _Raw() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _address(server: socketserver.BaseServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/best"


_OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        _OK + b"X: y\r\n" * 200 + b"\r\n",
        _OK + b"Content-Length: 100\r\n\r\n{",
        _OK + b"Content-Length: -5\r\n\r\n{",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\n{",
        _OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{",
        _OK + b"\r\n",
        _OK + b"\r\n<html>",
        _OK + b"\r\n\xff\xfe\xfa",
        _OK + b"\r\n[]",
        _OK + b"\r\n" + b"[" * 200_000,
        _OK + b'\r\n{"schema": "lambda-tuner/best/1", "lr": 1e999}',
        _OK + b'\r\n{"schema": "tuner_t0ken"}',
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 401 tuner_t0ken is bad\r\n\r\n",
        b"HTTP/1.1 401 No\r\n\r\n" + b'{"detail": "tuner_t0ken\\nis bad"}',
        b"HTTP/1.1 500 No\r\n\r\n" + b"[" * 60_000,
        b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 301 Moved\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /best\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://host/best\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://me:tuner_t0ken@host/best\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/a\x01b\r\n\r\n",
    ],
    ids=lambda answer: answer[:60].decode("latin-1").replace("\r\n", " "),
)
def test_whatever_a_server_answers_is_an_answer_error(raw: _Raw, answer: bytes) -> None:
    """One line, nothing else, and never the token, even where the server repeats it."""
    raw.answer = answer
    assert _fails(_address(raw), _TOKEN)
    assert f"Authorization: Bearer {_TOKEN}" in raw.asked[0]


@pytest.mark.parametrize("answer", [b"", _OK + b"Content-Length: 100\r\n\r\n{"])
def test_server_that_says_no_more_is_not_waited_for_for_ever(
    raw: _Raw, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before its answer, nor in the middle of it."""
    monkeypatch.setattr("tuner.answer.web._SILENCE_SECONDS", 0.3)
    raw.answer, raw.is_silent = answer, True
    assert "timed out" in _fails(_address(raw), _TOKEN)


def test_answer_without_end_is_not_read_to_the_end(
    raw: _Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is too large, nor what goes on and on."""
    raw.answer = _OK + b"\r\n" + b" " * 1_000_000
    monkeypatch.setattr("tuner.answer.web._MAX_BYTES", 100_000)
    assert "too large" in _fails(_address(raw))
    monkeypatch.setattr("tuner.answer.web._LONGEST_SECONDS", 0)
    assert "too long" in _fails(_address(raw))


def test_redirect_takes_the_token_to_no_other_origin(
    raw: _Raw, token_and_server: tuple[str, Server]
) -> None:
    """Another port is another server; on the same it goes along."""
    token, server = token_and_server
    with _serving() as other:
        raw.answer = f"HTTP/1.1 302 Found\r\nLocation: {_address(other)}\r\n\r\n".encode()
        other.answer = b"HTTP/1.1 404 No\r\n\r\n"
        assert "404" in _fails(_address(raw), _TOKEN)
        assert "Authorization" not in other.asked[0]
        other.answer = b"HTTP/1.1 302 Found\r\nLocation: /twice\r\n\r\n"
        assert "loop" in _fails(_address(other), _TOKEN)
        assert all("Authorization: Bearer" in asked for asked in other.asked[1:])
    raw.answer = (
        f"HTTP/1.1 302 Found\r\nLocation: {server.url}/v1/studies/digits/best\r\n\r\n".encode()
    )
    assert "401" in _fails(_address(raw), token)
