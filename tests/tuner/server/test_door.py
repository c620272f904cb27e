"""Who stands at the door keeps nobody out: signing in while strangers guess, over real HTTP.

Source addresses of 127.0.0.0/8 stand for clients.
"""

import http.client
import threading
from collections.abc import Iterator
from http.client import HTTPResponse
from urllib.parse import urlencode

import pytest
from sqlalchemy import Engine, text

from storage import Role, create_storage, create_user, set_password_hash
from storage.logins import OF_NETWORK
from tests.tuner.conftest import wait_until
from tests.tuner.server.conftest import PASSWORD, Server, StartServer, add_accounts, add_study
from tuner.server.passwords import hash_password

_OTHER = "another horse battery"


pytestmark = pytest.mark.xdist_group("door")


class Door:
    """A running service at which anybody can sign in from any address."""

    def __init__(self, server: Server, engine: Engine) -> None:
        self.server = server
        self.engine = engine

    def sign_in(
        self, name: str, password: str, address: str = "127.0.0.1", cookie: str = ""
    ) -> HTTPResponse:
        """Send the form from an address; return the answer."""
        origin = {"Origin": self.server.url, "Cookie": cookie}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"name": name, "password": password})
        return self.request("POST", "/login", body, origin | form, address)

    def request(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: dict[str, str] | None = None,
        address: str = "127.0.0.1",
    ) -> HTTPResponse:
        """Send a request on a connection of its own."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=200, source_address=(address, 0)
        )
        connection.request(method, path, body, {"Connection": "close"} | (headers or {}))
        answer = connection.getresponse()
        answer.read()
        return answer

    def count_rows(self) -> int:
        """Return of how many subjects attempts are kept."""
        with self.engine.connect() as connection:
            return connection.execute(text("SELECT COUNT(*) FROM tuner_logins")).scalar_one()


def _cookies(answer: HTTPResponse) -> str:
    return "; ".join(value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie", []))


@pytest.fixture(scope="module")
def door(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Return a service with accounts of each role."""
    url = f"sqlite:///{tmp_path_factory.mktemp('door') / 'tuner.db'}"
    add_study(url)
    engine = create_storage(url).engine
    add_accounts(engine)
    yield Door(start_server(url), engine)
    engine.dispose()


@pytest.fixture(autouse=True)
def forgotten(door: Door) -> None:
    """Let nobody have to wait for what a test before has done."""
    with door.engine.begin() as connection:
        connection.execute(text("DELETE FROM tuner_logins"))


def _block(door: Door, address: str) -> None:
    for i in range(OF_NETWORK.n_free + 1):
        assert door.sign_in(f"nobody{i}", "wrong", address).status == 401
    _wait_long(door)
    assert door.sign_in("nobody", "wrong", address).status == 429


def _wait_long(door: Door) -> None:
    """Let those who have to wait, wait for longer than the test takes."""
    with door.engine.begin() as connection:
        longer = "UPDATE tuner_logins SET ready_at = ready_at + 60 WHERE ready_at > 1e9"
        connection.execute(text(longer))


@pytest.mark.parametrize(("n_bytes", "status"), [(8000, 401), (60_000, 431)])
def test_long_cookie_stops_nobody(door: Door, n_bytes: int, status: int) -> None:
    """Backslashes, which Python's own parser unquotes in quadratic time (CVE-2024-7592)."""
    cookie = {"Cookie": 'tuner_session="' + "\\" * n_bytes + '"'}
    assert door.request("GET", "/api/studies", headers=cookie).status == status
    halves = {"Cookie": f"a={'b' * 5000}; tuner_device={'c' * 5000}"}
    assert door.request("GET", "/healthz", headers=halves).status == 431


def test_strangers_who_guess_keep_no_admin_out(door: Door) -> None:
    """Not one who comes from elsewhere, and not one beside them who has signed in here before."""
    here_before = _cookies(door.sign_in("admin", PASSWORD))
    for i in range(16):
        for _ in range(6):
            door.sign_in("admin", "wrong", f"127.0.2.{i + 1}")
    _wait_long(door)
    assert door.sign_in("admin", PASSWORD, "127.0.2.1").status == 429
    assert door.sign_in("admin", PASSWORD, "127.0.2.1", here_before).status == 303
    assert [door.sign_in("admin", PASSWORD, f"127.0.3.{i + 1}").status for i in range(5)] == [
        303
    ] * 5


def test_device_is_known_for_its_own_account_and_password_only(door: Door) -> None:
    """What one has got as a viewer opens no way to guess an admin's, nor does one made up."""
    viewers = _cookies(door.sign_in("viewer", PASSWORD))
    create_user(door.engine, "ann", hash_password(PASSWORD), Role.VIEWER)
    anns = _cookies(door.sign_in("ann", PASSWORD))
    set_password_hash(door.engine, "ann", hash_password(_OTHER))
    _block(door, "127.0.4.1")
    assert door.sign_in("viewer", PASSWORD, "127.0.4.1", viewers).status == 303
    for name, password, cookie in (
        ("admin", PASSWORD, viewers),
        ("ann", _OTHER, anns),
        ("viewer", PASSWORD, f"tuner_device={'x' * 59}"),
        ("viewer", PASSWORD, f"{viewers}; tuner_device={'x' * 59}"),
    ):
        assert door.sign_in(name, password, "127.0.4.1", cookie).status == 429, name


def test_team_that_signs_in_rightly_is_never_slowed_down(door: Door) -> None:
    """Forty times from one address."""
    names = ("viewer", "operator")
    statuses = {door.sign_in(names[i % 2], PASSWORD).status for i in range(40)}
    assert statuses == {303}


def test_refused_attempts_write_nothing_and_fill_no_queue(door: Door) -> None:
    """Sixty connections of a network that has to wait; others sign in meanwhile."""
    _block(door, "127.0.5.1")
    before = door.count_rows()
    statuses: list[int] = []

    def guess(i: int) -> None:
        for n in range(10):
            statuses.append(door.sign_in(f"x{i}-{n}", "wrong", "127.0.5.1").status)

    threads = [threading.Thread(target=guess, args=(i,)) for i in range(60)]
    for thread in threads:
        thread.start()
    others = [door.sign_in("viewer", PASSWORD, f"127.0.6.{i + 1}").status for i in range(5)]
    for thread in threads:
        thread.join()
    assert others == [303] * 5
    assert set(statuses) == {429}
    # Who signed in has a row of the network, not of the account.
    assert door.count_rows() <= before + 5


def test_one_network_has_only_a_share_of_the_queue(door: Door) -> None:
    """Sixty at once, none of which has had to wait yet: others come in all the same."""
    statuses: list[int] = []

    def guess(i: int) -> None:
        statuses.append(door.sign_in(f"y{i}", "wrong", "127.0.7.1").status)

    threads = [threading.Thread(target=guess, args=(i,)) for i in range(60)]
    for thread in threads:
        thread.start()
    other = door.sign_in("viewer", PASSWORD, "127.0.8.1").status
    for thread in threads:
        thread.join()
    assert other == 303
    assert set(statuses) <= {401, 429, 503}


def test_sign_in_in_flight_does_not_survive_a_change_of_password(door: Door) -> None:
    """No session of the old password is alive afterwards, however the two met."""
    create_user(door.engine, "bob", hash_password(PASSWORD), Role.OPERATOR)
    cookies: list[str] = []

    def sign_in(address: str) -> None:
        for _ in range(6):
            answer = door.sign_in("bob", PASSWORD, address)
            if answer.status == 303:
                cookies.append(_cookies(answer))

    threads = [threading.Thread(target=sign_in, args=(f"127.0.9.{i + 1}",)) for i in range(2)]
    for thread in threads:
        thread.start()
    new = hash_password(_OTHER)
    wait_until(lambda: bool(cookies))
    set_password_hash(door.engine, "bob", new)
    for thread in threads:
        thread.join()
    alive = [
        door.request("GET", "/v1/studies", headers={"Cookie": cookie}).status for cookie in cookies
    ]
    assert set(alive) == {401}
