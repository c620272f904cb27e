"""Workers need nothing of what says who may use the service: PostgreSQL's own word for it."""

import os
import shutil
import subprocess

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from storage import Role, create_storage, create_token
from tests.conftest import ROOT
from tests.servers import skip_or_fail
from tuner.study import create_or_resume
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

pytestmark = pytest.mark.db

_PRIVATE = ("users", "tokens", "sessions", "former_users", "logins", "audit")


def test_role_for_workers_trains_and_sees_no_account(postgres_url: str) -> None:
    """The file in deploy/ makes it, and can be run again."""
    if shutil.which("psql") is None:
        skip_or_fail("postgresql", "no psql here")
    storage = create_storage(postgres_url)
    create_token(storage.engine, Role.ADMIN)
    digits = {"dataset": "digits", "epochs": 1, "train_size": 100}
    create_or_resume(storage, "digits", digits, n_trials=2)
    url = make_url(postgres_url).set(drivername="postgresql")
    script = ROOT / "deploy" / "postgres-worker-role.sql"
    command = ["psql", url.render_as_string(hide_password=False), "--set=ON_ERROR_STOP=1"]
    try:
        for _ in range(2):
            subprocess.run(
                [*command, "--variable=password=x", f"--file={script}"],
                check=True,
                capture_output=True,
                env=os.environ,
            )
        workers = url.set(username="tuner_worker", password="x")
        as_worker = workers.render_as_string(hide_password=False)
        assert run_worker(WorkerConfig(as_worker, "digits"), Leaving()) == 0
        engine = create_engine(workers.set(drivername="postgresql+psycopg"))
        for table in _PRIVATE:
            for statement in (f"SELECT * FROM tuner_{table}", f"DELETE FROM tuner_{table}"):
                with (
                    engine.connect() as connection,
                    pytest.raises(ProgrammingError, match="permission denied"),
                ):
                    connection.execute(text(statement))
        engine.dispose()
    finally:
        with storage.engine.begin() as connection:
            for statement in ("DROP OWNED BY tuner_worker", "DROP ROLE tuner_worker"):
                connection.execute(text(statement))
        storage.engine.dispose()
