"""Users, tokens, sessions, attempts to sign in and the audit, on each database."""

import hashlib
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event, text

from storage import (
    AccountError,
    Bearer,
    Role,
    begin_login,
    create_session,
    create_storage,
    create_token,
    create_user,
    end_session,
    find_password_hash,
    find_sessions,
    find_tokens,
    find_wait,
    has_accounts,
    list_audit,
    list_tokens,
    list_users,
    note_use,
    open_storage,
    paces_of,
    prune_audit,
    record_action,
    remove_user,
    revoke_token,
    set_password_hash,
    set_role,
    take_back,
)
from storage.logins import OF_ACCOUNT, OF_NETWORK
from tests.storage.studies import counted

pytestmark = pytest.mark.db

_TABLES = (
    *("tuner_sessions", "tuner_users", "tuner_tokens"),
    *("tuner_former_users", "tuner_logins", "tuner_audit"),
)


@pytest.fixture
def engine(shared_url: str) -> Iterator[Engine]:
    """Return an engine on a database of each kind without any account."""
    engine = create_storage(shared_url).engine
    _execute(engine, *(f"DELETE FROM {table}" for table in _TABLES))
    yield engine
    engine.dispose()


def _execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _find_token(engine: Engine, secret: str) -> Bearer | None:
    found = find_tokens(engine, [secret]).get(secret)
    if found is not None and found.use_to_note is not None:
        note_use(engine, [found.use_to_note])
    return found


def _find_session(engine: Engine, secret: str) -> Bearer | None:
    return find_sessions(engine, [secret]).get(secret)


def _everything(engine: Engine) -> str:
    """Return all that is kept, as one text."""
    with engine.connect() as connection:
        rows = [connection.execute(text(f"SELECT * FROM {table}")).all() for table in _TABLES]
    return str(rows)


def _session_of(engine: Engine, name: str) -> str:
    found = find_password_hash(engine, name)
    assert found is not None
    secret = create_session(engine, *found)
    assert secret is not None
    return secret


def test_user_is_kept_with_name_role_and_hash(engine: Engine) -> None:
    """What is created can be listed and found; before it nobody has access."""
    assert not has_accounts(engine)
    create_user(engine, "ann", "hash-a", Role.VIEWER)
    create_user(engine, "a.n@example.org", "hash-b", Role.ADMIN)
    assert has_accounts(engine)
    assert [(user.name, user.role) for user in list_users(engine)] == [
        ("a.n@example.org", Role.ADMIN),
        ("ann", Role.VIEWER),
    ]
    found = find_password_hash(engine, "ann")
    assert found is not None
    assert found[1] == "hash-a"


@pytest.mark.parametrize("name", ["", "Ann", "änn", "ann ", "-ann", "a" * 65, "a\nb", "a'b"])
def test_name_that_databases_compare_loosely_is_none(engine: Engine, name: str) -> None:
    """It can neither be created nor found, so each account has one name only."""
    create_user(engine, "ann", "hash", Role.VIEWER)
    with pytest.raises(AccountError, match="cannot be a user's name"):
        create_user(engine, name, "hash", Role.VIEWER)
    assert find_password_hash(engine, name) is None


def test_taken_and_missing_names_are_refused(engine: Engine) -> None:
    """Each refusal says what to do, and changes nothing."""
    create_user(engine, "ann", "hash", Role.VIEWER)
    with pytest.raises(AccountError, match="There is a user 'ann' already"):
        create_user(engine, "ann", "other", Role.ADMIN)
    for change in (
        lambda: set_role(engine, "bob", Role.ADMIN),
        lambda: set_password_hash(engine, "bob", "x"),
        lambda: remove_user(engine, "bob"),
        lambda: revoke_token(engine, 99),
    ):
        with pytest.raises(AccountError, match="There is no"):
            change()
    assert [user.role for user in list_users(engine)] == [Role.VIEWER]


def test_session_has_the_role_that_its_user_has_now(engine: Engine) -> None:
    """A change of role is felt by sessions that are open."""
    create_user(engine, "ann", "hash", Role.ADMIN)
    secret = _session_of(engine, "ann")
    assert _find_session(engine, secret) == Bearer("ann", Role.ADMIN)
    set_role(engine, "ann", Role.VIEWER)
    assert _find_session(engine, secret) == Bearer("ann", Role.VIEWER)


def test_session_ends_with_logout_password_user_and_time(engine: Engine) -> None:
    """A session outlives none of them; those of others go on."""
    create_user(engine, "ann", "hash", Role.ADMIN)
    create_user(engine, "bob", "hash", Role.ADMIN)
    others = _session_of(engine, "bob")
    ended = [_session_of(engine, "ann")]
    end_session(engine, ended[0])
    ended.append(_session_of(engine, "ann"))
    set_password_hash(engine, "ann", "new")
    ended.append(_session_of(engine, "ann"))
    remove_user(engine, "ann")
    assert [_find_session(engine, secret) for secret in ended] == [None] * 3
    assert _find_session(engine, others) == Bearer("bob", Role.ADMIN)
    _execute(engine, "UPDATE tuner_sessions SET expires_at = 1")
    assert _find_session(engine, others) is None


def test_new_hash_does_not_overwrite_a_new_password(engine: Engine) -> None:
    """A hash made anew while somebody changed the password is dropped."""
    create_user(engine, "ann", "old", Role.VIEWER)
    user_id, _ = find_password_hash(engine, "ann") or (0, "")
    set_password_hash(engine, "ann", "changed")
    assert create_session(engine, user_id, "old", "rehashed") is None
    assert find_password_hash(engine, "ann") == (user_id, "changed")
    assert create_session(engine, user_id, "changed", "rehashed") is not None
    assert find_password_hash(engine, "ann") == (user_id, "rehashed")


def test_token_is_valid_until_it_expires_or_is_revoked(engine: Engine) -> None:
    """A token stands for its name and role, and for nobody afterwards."""
    number, secret = create_token(engine, Role.OPERATOR, name="ci")
    _, mortal = create_token(engine, Role.VIEWER, lifetime_seconds=3600)
    assert _find_token(engine, secret) == Bearer(f"{number}:ci", Role.OPERATOR)
    assert _find_token(engine, mortal) is not None
    _execute(engine, "UPDATE tuner_tokens SET expires_at = 1 WHERE expires_at IS NOT NULL")
    for _ in range(2):
        revoke_token(engine, number)
    assert _find_token(engine, secret) is _find_token(engine, mortal) is None
    assert [token.is_valid for token in list_tokens(engine)] == [False, False]
    assert has_accounts(engine)  # those who had access are not let in as if nobody ever had


def test_use_of_a_token_is_noted_at_most_once_an_hour(engine: Engine) -> None:
    """So polling writes nothing; what is no token, and one that nobody uses, has no use."""
    _, secret = create_token(engine, Role.VIEWER)
    create_token(engine, Role.VIEWER)
    assert _find_token(engine, f"{secret}x") is None
    assert [token.used_at for token in list_tokens(engine)] == [None, None]
    _find_token(engine, secret)
    (first,) = {token.used_at for token in list_tokens(engine)} - {None}
    with counted(engine) as counts:
        _find_token(engine, secret)
    assert counts["commits"] == 0
    assert {token.used_at for token in list_tokens(engine)} == {None, first}
    _execute(engine, f"UPDATE tuner_tokens SET used_at = {first - 3700}")
    _find_token(engine, secret)
    assert first <= max(token.used_at or 0 for token in list_tokens(engine)) < first + 60


def test_token_is_good_where_its_use_cannot_be_noted(sqlite_url: str) -> None:
    """Who only reads is not kept from it by a full disk, or a database that may only be read."""
    _, secret = create_token(create_storage(sqlite_url).engine, Role.VIEWER)
    engine = open_storage(sqlite_url).engine
    event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA query_only = ON"))
    engine.dispose()
    assert _find_token(engine, secret) is not None
    assert list_tokens(engine)[0].used_at is None


def test_secrets_are_random_and_not_kept(engine: Engine) -> None:
    """Who reads the database finds digests of 256 bits, none of which opens anything."""
    create_user(engine, "ann", "hash", Role.ADMIN)
    _, token = create_token(engine, Role.ADMIN)
    session = _session_of(engine, "ann")
    kept = _everything(engine)
    for secret in (token, session):
        assert secret not in kept
        digest = hashlib.sha256(secret.encode()).hexdigest()
        assert digest in kept
        assert _find_token(engine, digest) is _find_session(engine, digest) is None
    assert token.startswith("tuner_")
    assert len(token.removeprefix("tuner_")) == len(session) == 43
    assert _find_token(engine, session) is _find_session(engine, token) is None


def test_secrets_looked_up_together_stand_for_whom_each_stands_alone(engine: Engine) -> None:
    """Of many asked for at once, the valid ones are found, each with its own name and role."""
    made = {role: create_token(engine, role, name=role.value) for role in Role}
    number, revoked = create_token(engine, Role.ADMIN)
    revoke_token(engine, number)
    unknown = [f"tuner_{number:043}" for number in range(500)]
    expected = {secret: Bearer(f"{n}:{role}", role) for role, (n, secret) in made.items()}
    assert find_tokens(engine, [*unknown, revoked, *expected, ""]) == expected
    assert find_tokens(engine, []) == find_sessions(engine, []) == {}


def _try(engine: Engine, account: str, network: str, device: str | None = None) -> float:
    """Begin an attempt, as the first look allows it; return the seconds to wait."""
    paces = paces_of(account, network, device)
    wait = find_wait(engine, paces)
    return wait if wait > 0 else begin_login(engine, paces)


def test_failures_slow_down_an_account_from_one_network(engine: Engine) -> None:
    """After a few free failures each costs twice the wait of the one before, up to a limit."""
    for _ in range(OF_ACCOUNT.n_free + 1):
        assert _try(engine, "ann", "10.0.0.1") == 0
    assert 0 < _try(engine, "ann", "10.0.0.1") <= 1
    _execute(engine, "UPDATE tuner_logins SET ready_at = 0")
    assert _try(engine, "ann", "10.0.0.1") == 0
    assert 1 < _try(engine, "ann", "10.0.0.1") <= 2
    assert _try(engine, "bob", "10.0.0.1") == 0
    assert OF_ACCOUNT.wait_after(1000) == OF_ACCOUNT.longest_seconds


def test_failures_of_strangers_keep_nobody_else_out(engine: Engine) -> None:
    """Neither from another network, nor on a device that was here before, whatever its network."""
    for i in range(OF_NETWORK.n_free + 1):
        assert _try(engine, f"user{i}", "10.0.0.1") == 0
    for i in range(OF_ACCOUNT.n_free + 1):
        assert _try(engine, "ann", f"10.0.1.{i}") == 0
    assert _try(engine, "ann", "10.0.0.1") > 0
    assert _try(engine, "ann", "10.0.0.2") == 0
    assert _try(engine, "ann", "10.0.0.1", "device-of-ann") == 0


def test_device_is_slowed_down_too(engine: Engine) -> None:
    """Who has taken it from somebody cannot guess without end, and slows down no other device."""
    for i in range(OF_ACCOUNT.n_free + 1):
        assert _try(engine, "ann", f"10.0.0.{i}", "one") == 0
    assert _try(engine, "ann", "10.0.1.1", "one") > 0
    assert _try(engine, "ann", "10.0.1.1", "two") == _try(engine, "ann", "10.0.1.1") == 0


def test_success_is_no_failure_and_forgets_none_of_others(engine: Engine) -> None:
    """A network of many people stays open; one's own account does not help to guess others'."""
    for _ in range(3 * OF_NETWORK.n_free):
        assert _try(engine, "ann", "10.0.0.1") == 0
        take_back(engine, paces_of("ann", "10.0.0.1"))
    for i in range(OF_NETWORK.n_free + 1):
        assert _try(engine, f"user{i}", "10.0.0.1") == 0
        _try(engine, "ann", "10.0.0.2")
        take_back(engine, paces_of("ann", "10.0.0.2"))
    assert _try(engine, "bob", "10.0.0.1") > 0


def test_refused_attempt_writes_nothing(engine: Engine) -> None:
    """However many names a network tries after it has been told to wait, no row is added."""
    for i in range(OF_NETWORK.n_free + 1):
        _try(engine, f"user{i}", "10.0.0.1")
    before = _everything(engine)
    with counted(engine) as counts:
        assert all(_try(engine, f"name{i}", "10.0.0.1") > 0 for i in range(50))
    assert counts["commits"] == 0
    assert begin_login(engine, paces_of("another", "10.0.0.1")) > 0  # others were first meanwhile
    assert _everything(engine) == before


def test_names_that_look_alike_have_counters_of_their_own(engine: Engine) -> None:
    """What cannot be a name neither breaks a loosely comparing database nor slows others down."""
    for _ in range(OF_ACCOUNT.n_free + 1):
        assert _try(engine, "ANN", "10.0.0.1") == 0
    assert _try(engine, "ANN", "10.0.0.1") > 0
    for name in ("ann", "änn", "ann ", "x" * 300, "\x00"):
        assert _try(engine, name, "10.0.0.2") == 0


def test_attempts_at_once_are_counted_by_all_servers(engine: Engine, shared_url: str) -> None:
    """Of many guesses sent together, to two servers, only the free ones are looked at."""
    engines = [open_storage(shared_url).engine, engine]
    waits: list[float] = []

    def guess(i: int) -> None:
        waits.append(_try(engines[i % 2], "ann", "10.0.1.1"))

    threads = [threading.Thread(target=guess, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engines[0].dispose()
    assert sorted(wait > 0 for wait in waits) == [False] * (OF_ACCOUNT.n_free + 1) + [True] * 7


def test_failures_are_forgotten_one_by_one(engine: Engine) -> None:
    """Each after a quarter of an hour; of none that is forgotten a row stays."""
    for _ in range(OF_ACCOUNT.n_free + 1):
        _try(engine, "ann", "10.0.0.1")
    later = "UPDATE tuner_logins SET ready_at = 0, forgotten_at = forgotten_at - {}"
    _execute(engine, later.format(1801))
    for _ in range(2):
        assert _try(engine, "ann", "10.0.0.1") == 0
    assert _try(engine, "ann", "10.0.0.1") > 0
    _execute(engine, later.format(86_400))
    assert _try(engine, "bob", "10.0.0.2") == 0
    assert "10.0.0.1" not in _everything(engine)


def test_clock_that_was_put_back_makes_no_wait_longer(engine: Engine) -> None:
    """What was to be over two hours ahead is over after the longest wait."""
    _try(engine, "ann", "10.0.0.1")
    _execute(engine, "UPDATE tuner_logins SET ready_at = ready_at + 9e9, forgotten_at = 9e9")
    assert 0 < _try(engine, "ann", "10.0.0.1") <= OF_NETWORK.longest_seconds


def test_session_is_not_begun_by_what_has_changed_meanwhile(engine: Engine) -> None:
    """Who gave the old password, or was somebody who is gone, is not let in after all."""
    create_user(engine, "ann", "old", Role.VIEWER)
    found = find_password_hash(engine, "ann")
    assert found is not None
    set_password_hash(engine, "ann", "new")
    assert create_session(engine, *found) is None
    assert create_session(engine, found[0], "new") is not None
    remove_user(engine, "ann")
    create_user(engine, "eve", "new", Role.ADMIN)
    assert create_session(engine, found[0], "new") is None


def test_change_of_password_at_the_same_time_leaves_no_session(
    engine: Engine, shared_url: str
) -> None:
    """Whichever of the two is first: they wait for each other."""
    create_user(engine, "ann", "0", Role.VIEWER)
    user_id, _ = find_password_hash(engine, "ann") or (0, "")
    other = open_storage(shared_url).engine
    secrets: list[tuple[int, str | None]] = []

    def sign_in() -> None:
        for _ in range(100):
            _, known = find_password_hash(other, "ann") or (0, "")
            secrets.append((int(known), create_session(other, user_id, known)))

    thread = threading.Thread(target=sign_in)
    thread.start()
    n = 0
    while thread.is_alive():
        n += 1
        set_password_hash(engine, "ann", str(n))
    thread.join()
    other.dispose()
    alive = [given for given, secret in secrets if secret and _find_session(engine, secret)]
    assert set(alive) <= {n}


def test_ids_are_not_handed_out_again(engine: Engine) -> None:
    """A user and a token that come after others have nothing in common with them."""
    ids = []
    for name in ("ann", "bob", "eve"):
        create_user(engine, name, "hash", Role.VIEWER)
        ids.append((find_password_hash(engine, name) or (0, ""))[0])
        remove_user(engine, name)
        ids.append(create_token(engine, Role.VIEWER)[0])
        _execute(engine, "DELETE FROM tuner_tokens")
    assert len(set(ids)) == 6
    assert min(ids) > 1000


def test_removal_of_the_last_account_is_remembered(engine: Engine) -> None:
    """What was closed to strangers once is not open to them again."""
    create_user(engine, "ann", "hash", Role.ADMIN)
    remove_user(engine, "ann")
    assert list_users(engine) == []
    assert has_accounts(engine)


def test_audit_tells_who_did_what_when_and_from_where(engine: Engine) -> None:
    """Rows come newest first; too long a text is cut, not refused."""
    record_action(engine, "user:ann", "login", "10.0.0.1")
    record_action(engine, "token:ci", "x" * 999, "::1")
    newest, oldest = list_audit(engine)
    assert (oldest.actor, oldest.action, oldest.address) == ("user:ann", "login", "10.0.0.1")
    assert len(newest.action) == 255
    for verb in ("pause", "stop"):
        record_action(engine, "user:ann", f"200 POST /v1/studies/{'A' * 240}/{verb}", "::1")
    assert [entry.action[-6:] for entry in list_audit(engine, 2)] == ["A/stop", "/pause"]
    assert newest.at >= oldest.at > 1.7e9


def test_audit_loses_nothing_but_what_is_older_than_asked(engine: Engine) -> None:
    """By the database's clock."""
    for action in ("old", "new"):
        record_action(engine, "user:ann", action, "local")
    _execute(engine, "UPDATE tuner_audit SET at = at - 3600 WHERE action = 'old'")
    assert prune_audit(engine, 3660) == 0
    assert prune_audit(engine, 3540) == 1
    assert [entry.action for entry in list_audit(engine)] == ["new"]
