"""Storage URLs are read as people write them, and never shown with a password."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import URL

from storage import (
    BadUrlError,
    UnreachableError,
    create_storage,
    mask_url,
    parse_url,
    with_password,
)
from tests import servers

# Whether a server without TLS is refused, whether its certificate is verified, and its name.
NOTHING = (False, ssl.CERT_NONE, False)
TLS = (True, ssl.CERT_NONE, False)
TLS_OF_AUTHORITY = (True, ssl.CERT_REQUIRED, False)
TLS_OF_HOST = (True, ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("written", "driver"),
    [
        ("sqlite:///tuner.db", "sqlite"),
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("mysql://u@h/d", "mysql+pymysql"),
        ("mariadb://u@h/d", "mysql+pymysql"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg"),
        ("postgresql+asyncpg://u@h/d", "postgresql+psycopg"),
        ("jdbc:postgresql://h/d?user=u", "postgresql+psycopg"),
        ("mysql+mysqlconnector://u@h/d", "mysql+pymysql"),
        ("mysql+aiomysql://u@h/d", "mysql+pymysql"),
        ("mysql2://u@h/d", "mysql+pymysql"),
        ("jdbc:mariadb://h/d?user=u", "mysql+pymysql"),
        ("sqlite+aiosqlite:///tuner.db", "sqlite"),
        ("sqlite3:///tuner.db", "sqlite"),
        ("jdbc:sqlite:tuner.db", "sqlite"),
        (" 'postgres://u@h/d'\n", "postgresql+psycopg"),
    ],
)
def test_url_as_people_write_it_gets_a_shipped_driver(written: str, driver: str) -> None:
    """Every spelling that other tools take means the driver that our extras install."""
    assert parse_url(written).drivername == driver


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("tuner.db", "cannot be parsed"),
        ("oracle://u:s3cret@h/d", "'oracle'"),
        ("redis://h", "'redis'"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://u:s3cret@h", "names no database"),
        ("mysql+pyodbc://u:s3cret@dsn/d", r"'mysql\+pyodbc'"),
        ("prisma+postgres://h/?api_key=s3cret", r"'prisma\+postgres'"),
        ("psql 'postgresql://u:s3cret@h/d'", "cannot be parsed"),
        ("postgresql://u:s3cret@h1:5432,h2:5432/d", "cannot be parsed"),
        ("Server=h;Database=d;User Id=u;Password=s3cret", "cannot be parsed"),
        ("postgresql://u@h/d?token=s3cret", "'token', which means nothing for PostgreSQL"),
        ("mysql://u@h/d?fast=s3cret", "'fast', which means nothing for MySQL"),
        ("sqlite:///tuner.db?mode=ro", "'mode', which means nothing for SQLite"),
        ("mysql://u:s3cret@h/d?ssl-mode=SOMETIMES", "'SOMETIMES': write one of disable"),
        ("postgresql://u:s3cret@h/d?schema=a,b", "more than one schema"),
    ],
)
def test_url_that_cannot_work_is_refused_without_its_password(written: str, said: str) -> None:
    """A URL that no worker could use is refused by name, and its password stays unsaid."""
    with pytest.raises(BadUrlError, match=said) as raised:
        parse_url(written)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ("sslmode=require&channel_binding=require", "channel_binding=require sslmode=require"),
        ("sslmode=require&options=endpoint%3Dep", "options=endpoint=ep sslmode=require"),
        ("pgbouncer=true&connection_limit=1&connect_timeout=15&supa=base-pooler.x", ""),
        ("ssl=true", "sslmode=require"),
        ("ssl=true&sslmode=verify-full&sslrootcert=ca", "sslmode=verify-full sslrootcert=ca"),
        ("ssl-mode=REQUIRED", "sslmode=require"),
        ("ssl=require&prepared_statement_cache_size=0", "sslmode=require"),
        ("prepareThreshold=0&ssl=false", "sslmode=disable"),
        ("schema=public", ""),
        ("currentSchema=tuner", "options=-csearch_path=tuner"),
    ],
)
def test_options_for_postgres_become_those_of_libpq(written: str, options: str) -> None:
    """What Neon, Supabase, Vercel, Prisma, JDBC and asyncpg print means the same here."""
    url = parse_url(f"postgresql://u:p@h/d?{written}")
    assert " ".join(f"{name}={value}" for name, value in sorted(url.query.items())) == options
    assert parse_url(url.render_as_string(hide_password=False)) == url


@pytest.mark.parametrize(
    ("written", "demanded"),
    [
        ("", NOTHING),
        ("ssl-mode=PREFERRED", NOTHING),
        ("ssl-mode=REQUIRED", TLS),
        ("sslmode=require", TLS),
        ("ssl=true&charset=utf8mb4", TLS),
        ("useSSL=true&requireSSL=true&verifyServerCertificate=false", TLS),
        ("tls=skip-verify&parseTime=true", TLS),
        ('ssl={"rejectUnauthorized":false}', TLS),
        ("ssl-mode=REQUIRED&ssl-ca={ca}", TLS_OF_AUTHORITY),
        ("ssl_mode=VERIFY_CA&ssl_ca={ca}", TLS_OF_AUTHORITY),
        ("ssl_ca={ca}&ssl_check_hostname=false", TLS_OF_AUTHORITY),
        ("sslMode=VERIFY_CA", TLS_OF_AUTHORITY),
        ("sslaccept=strict&connection_limit=5", TLS_OF_HOST),
        ('ssl={"rejectUnauthorized":true}', TLS_OF_HOST),
        ("sslmode=verify-full&sslrootcert=system", TLS_OF_HOST),
        ("ssl_ca={ca}", TLS_OF_HOST),
        ("ssl_ca={ca}&ssl_verify_cert=true&ssl_verify_identity=true", TLS_OF_HOST),
    ],
)
def test_options_for_mysql_demand_as_much_of_tls_as_they_say(
    written: str, demanded: tuple[bool, ssl.VerifyMode, bool]
) -> None:
    """As the driver takes it, whatever vendor or client has printed the URL."""
    ca = ssl.get_default_verify_paths().cafile
    assert ca is not None
    url = parse_url(f"mysql://u:p@h/d?{written.replace('{ca}', ca)}")
    assert parse_url(url.render_as_string(hide_password=False)) == url
    _, arguments = url.get_dialect()().create_connect_args(url)
    connection = pymysql.Connection(**arguments, defer_connect=True)
    required = connection._ssl_required  # type: ignore[attr-defined]
    context = connection.ctx  # type: ignore[attr-defined]
    assert (required, context.verify_mode, context.check_hostname) == demanded


def test_server_without_tls_is_refused_where_tls_is_demanded(mysql_url_without_tls: str) -> None:
    """Not talked to in the clear, as PyMySQL did once."""
    create_storage(mysql_url_without_tls)
    with pytest.raises(UnreachableError, match="SSL is required but the server"):
        create_storage(f"{mysql_url_without_tls}?ssl-mode=REQUIRED")


@pytest.fixture
def mysql_url_without_tls(mysql_server: URL) -> Iterator[str]:
    """Return an empty database on a server that offers no TLS."""
    engine = create_engine(mysql_server)
    with engine.connect() as connection:
        _, has_tls = connection.exec_driver_sql("SHOW VARIABLES LIKE 'have_ssl'").one()
    if has_tls == "YES":
        pytest.skip("this server offers TLS")
    with servers.new_database(mysql_server) as url:
        yield url


def test_user_and_password_of_jdbc_are_hidden_like_others() -> None:
    """They stand among the options there."""
    url = parse_url("jdbc:postgresql://h/d?user=u&password=s3cret&ssl=true")
    assert (url.username, url.password, dict(url.query)) == ("u", "s3cret", {"sslmode": "require"})
    assert "s3cret" not in mask_url("jdbc:postgresql://h/d?user=u&password=s3cret")


@pytest.mark.parametrize(
    "written",
    [
        "postgresql://user:s3cret@host/db",
        "postgresql://host/db?user=u&password=s3cret",
        "mysql://user:s3cret@host/db?passwd=s3cret",
    ],
)
def test_mask_url_with_password_anywhere_hides_it(written: str) -> None:
    """A password is hidden in the authority and in the query, the rest stays readable."""
    masked = mask_url(written)
    assert "s3cret" not in masked
    assert "host/db" in masked


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"], ids=repr)
def test_password_file_fills_in_a_url_as_images_of_databases_do(
    tmp_path: Path, ending: str
) -> None:
    """Any password does, without the newlines that editors and `echo` put at the end."""
    file = tmp_path / "password"
    file.write_bytes(f"s3:cr/e@t% é{ending}".encode())
    url = parse_url(with_password("postgresql://u@h/d", file))
    assert (url.username, url.password, url.host, url.database) == ("u", "s3:cr/e@t% é", "h", "d")


@pytest.mark.parametrize(
    ("written", "content", "said"),
    [
        ("sqlite:///tuner.db", b"s3cret", "has no password"),
        ("postgresql://u:s3cret@h/d", b"s3cret", "has a password already"),
        ("mysql://u@h/d?passwd=s3cret", b"s3cret", "has a password already"),
        ("postgresql://h/d", b"s3cret", "names no user"),
        ("postgresql:///d?host=/tmp", b"s3cret", "names no user"),
        ("postgresql://u@h/d", b"\n", "holds no password"),
        ("postgresql://u@h/d", b"s3cret\0", "holds no password"),
        ("postgresql://u@h/d", b"s3cret\xff", "is not text"),
        ("postgresql://u@h/d", None, "No such file"),
    ],
)
def test_password_file_that_cannot_be_meant_is_refused(
    tmp_path: Path, written: str, content: bytes | None, said: str
) -> None:
    """One line says why, without what is in the file."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadUrlError, match=said) as raised:
        with_password(written, file)
    assert "s3cret" not in str(raised.value)
