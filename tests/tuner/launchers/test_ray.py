"""`tuner run --engine ray` on a real cluster of this machine, with nodes that join and die."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from storage import list_workers
from tests.conftest import clean_environment
from tests.processes import is_alive
from tests.servers import PrivatePostgres, new_database, skip_or_fail
from tests.tuner.conftest import FUNCTION, Crew, n_reporting, rows, wait_until
from tuner.study import LoadedStudy

pytestmark = [pytest.mark.slow, pytest.mark.long]

_NODE = {"object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return a cluster with Ray's own login on and a head that trains nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "t" * 32)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            from ray.cluster_utils import Cluster
        except ImportError:
            skip_or_fail("ray", "no Ray: pip install 'lambda-tuner[ray]'")
        head = {"num_cpus": 0, "include_dashboard": False, **_NODE}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def add_node(cluster: Any) -> Iterator[Callable[[int], Any]]:
    """Return a function that adds a node of so many CPUs, which leaves with the test."""
    nodes: list[Any] = []

    def add(num_cpus: int) -> Any:
        nodes.append(cluster.add_node(num_cpus=num_cpus, **_NODE))
        return nodes[-1]

    yield add
    for node in nodes:
        with contextlib.suppress(ValueError, KeyError):
            cluster.remove_node(node)


@pytest.fixture
def crew(make_crew: Callable[[str], Crew], postgres_url: str) -> Crew:
    """Return a crew whose study is in PostgreSQL."""
    return make_crew(postgres_url)


def _run(crew: Crew, cluster: Any, *options: str, **environment: str) -> Any:
    where = ("--engine", "ray", "--address", cluster.address, "--lease", "5s", "--no-confirm")
    path = f"{clean_environment()['PYTHONPATH']}:{crew.folder}"
    return crew.start_python("run", *where, *options, **environment, PYTHONPATH=path)


def _pids(loaded: LoadedStudy) -> list[int]:
    return [worker.pid for worker in list_workers(loaded.storage.engine, loaded.study_id)]


def test_budget_is_exact_though_a_node_is_killed(
    cluster: Any, add_node: Callable[[int], Any], crew: Crew
) -> None:
    """Three nodes of two workers, one killed in the middle: every trial counted once."""
    nodes = [add_node(2) for _ in range(3)]
    loaded = crew.create(FUNCTION, n_trials=20)
    run = _run(crew, cluster)
    wait_until(lambda: n_reporting(loaded) == 6)
    cluster.remove_node(nodes[1], allow_graceful=False)
    wait_until(lambda: "A node with 2 workers has died" in run.logged())
    crew.finish()
    assert run.wait(200) == 0, run.logged()
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased) == (20, 0)
    assert [row["state"] for row in rows(loaded)].count("COMPLETE") == 20
    assert "Traceback" not in run.logged()


def test_node_that_joins_gets_a_crew_and_sigterm_gives_all_back(
    cluster: Any, add_node: Callable[[int], Any], crew: Crew
) -> None:
    """A run may begin before there is a node; it leaves no process and no lease behind."""
    loaded = crew.create(FUNCTION, n_trials=20)
    run = _run(crew, cluster)
    wait_until(lambda: "Waiting for nodes with free CPUs" in run.logged())
    add_node(1)
    wait_until(lambda: n_reporting(loaded) == 1)
    add_node(2)
    wait_until(lambda: n_reporting(loaded) == 3)
    crews = _pids(loaded)
    assert len(crews) == 2
    run.interrupt(signal.SIGTERM)
    assert run.wait() == 130
    assert run.logged().strip().splitlines()[-1] == "tuner: interrupted"
    budget = loaded.load_budget()
    assert (budget.n_leased, budget.n_finished) == (0, 0)
    wait_until(lambda: not any(map(is_alive, crews)))


def test_killed_actor_ends_its_crew_and_gets_another(
    cluster: Any, add_node: Callable[[int], Any], crew: Crew
) -> None:
    """Ray starts the actor again, which has no crew until it is told."""
    add_node(1)
    loaded = crew.create(FUNCTION, n_trials=2)
    run = _run(crew, cluster)
    wait_until(lambda: n_reporting(loaded) == 1)
    (first,) = _pids(loaded)
    stat = Path(f"/proc/{first}/stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
    wait_until(lambda: not is_alive(first))
    wait_until(lambda: n_reporting(loaded) == 1 and _pids(loaded) != [first])
    crew.finish()
    assert run.wait() == 0, run.logged()
    assert loaded.load_budget().n_finished == 2


@pytest.fixture
def secret_url(private_postgres: PrivatePostgres) -> Iterator[str]:
    """Return a database whose server wants a password of a user's."""
    with new_database(private_postgres.url) as url:
        yield url


_ACTORS = """
import ray, sys
from ray._private.state import state
ray.init(sys.argv[1], logging_level="ERROR")
print(state.actor_table(None, None, None) or ray.nodes())
"""


def test_password_is_nowhere_to_be_read(
    cluster: Any,
    add_node: Callable[[int], Any],
    make_crew: Callable[[str], Crew],
    secret_url: str,
    tmp_path: Path,
) -> None:
    """Neither in the session's files, nor in what Ray knows of actors, nor in any process's
    arguments or environment but the command's own.
    """
    url = make_url(secret_url)
    assert url.password
    file = tmp_path / "password"
    file.write_text(url.password)
    bare = secret_url.replace(f":{url.password}@", "@")
    crew = make_crew(secret_url)
    loaded = crew.create(FUNCTION, n_trials=1)
    add_node(1)
    crew.url = bare
    run = _run(crew, cluster, "--storage-password-file", str(file), "--verbose")
    wait_until(lambda: n_reporting(loaded) == 1)
    secret = url.password.encode()
    session = Path(cluster.head_node.get_session_dir_path())
    files = [path for path in session.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if secret in path.read_bytes()] == []
    told = subprocess.run(
        [sys.executable, "-c", _ACTORS, cluster.address],
        capture_output=True,
        check=True,
        timeout=100,
    )
    assert b"NodeCrew" in told.stdout
    assert secret not in told.stdout
    processes = [*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")]
    exposed = []
    for path in processes:
        with contextlib.suppress(OSError):
            if secret in path.read_bytes():
                exposed.append(path)
    assert exposed == []
    crew.finish()
    assert run.wait() == 0, run.logged()
    assert url.password not in run.logged()


def test_own_code_is_brought_to_the_nodes(
    cluster: Any, add_node: Callable[[int], Any], crew: Crew
) -> None:
    """With --code-dir the objective's module need not be there."""
    code = crew.folder / "code"
    code.mkdir()
    (code / "brought.py").write_text("def f(trial):\n    return trial.suggest_float('x', 0, 1)\n")
    add_node(1)
    loaded = crew.create({"objective": "brought:f", "pruner": "none"}, n_trials=3)
    run = _run(crew, cluster, "--code-dir", str(code), "--json")
    assert run.wait() == 0, run.logged()
    assert loaded.load_budget().n_finished == 3


def test_crew_that_cannot_train_ends_the_run_in_one_line(
    cluster: Any, add_node: Callable[[int], Any], crew: Crew
) -> None:
    """The last line is why, of the node that said it; status 1."""
    add_node(1)
    crew.create({"objective": "nowhere:f", "pruner": "none"}, n_trials=3)
    run = _run(crew, cluster)
    assert run.wait() == 1
    assert "nowhere" in run.logged().strip().splitlines()[-1]
    assert "Traceback" not in run.logged()


@pytest.mark.usefixtures("cluster")
def test_no_cluster_is_said_in_one_line(crew: Crew) -> None:
    """Nothing is waited for."""
    run = crew.start_python(
        "run", "--engine", "ray", "--address", "127.0.0.1:1", "--dataset", "digits"
    )
    assert run.wait(200) == 2
    last = run.logged().strip().splitlines()[-1]
    assert last.startswith("tuner: There is no Ray cluster at --address 127.0.0.1:1")


def test_engine_options_are_checked_before_anything_is_made(crew: Crew) -> None:
    """An engine that there is not, and what local workers have no use for; no study is made."""
    for options in (["--engine", "dask"], ["--gpus-per-worker", "1"], ["--workers", "0"]):
        run = crew.start_python("run", *options, "--dataset", "digits")
        assert run.wait() == 2, json.dumps(options)
        assert "Traceback" not in run.logged()
