"""Crews placed by Ray: how soon they start, and what a node that dies costs.

    python -m benchmarks.ray_nodes [--rounds 5] [--trials 300] [--results-dir DIR]

A warm cluster of `ray.cluster_utils.Cluster` on this machine, with Ray's own login, and a private
PostgreSQL. Trials sleep, so that nothing but placing them takes a processor.
"""

import contextlib
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy
import typer
from rich.console import Console

from benchmarks.commands import ROOT, run_python
from benchmarks.machine import describe_machine, machine_line
from benchmarks.postgres import PrivatePostgres
from benchmarks.results import FOLDER
from benchmarks.section import FIGURE_HEADINGS, Figure, markdown_table
from benchmarks.setting import Setting, show_spread

_NODE = {"object_store_memory": 80_000_000}
_N_WORKERS, _N_NODES, _PER_NODE = 8, 3, 2
_STARTED = sqlalchemy.text("SELECT datetime_start FROM trials ORDER BY datetime_start")
_ENDED = sqlalchemy.text("SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'")

NOTE = """\
Start: seconds from `tuner run --workers {workers}` to the start of the {workers}th trial, in turn
without Ray and on a warm cluster's node of {workers} CPUs, {rounds} rounds. A node dies: seconds of
`tuner run --engine ray --lease 5s` from start to end, {trials} trials of 2 s, {nodes} nodes of
{per_node} workers; one node is killed when half of the trials are complete, and none takes its
place: two thirds of the workers then take about 1.25 times as long."""


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often a start is timed.")] = 5,
    trials: Annotated[int, typer.Option(min=12, help="Of the study with a node that dies.")] = 300,
    results_dir: Annotated[Path, typer.Option(help="Where results are written.")] = FOLDER,
) -> None:
    """Measure what it costs that Ray places crews."""
    console = Console(stderr=True)
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="t" * 32, RAY_USAGE_STATS_ENABLED="0")
    os.environ["PYTHONPATH"] = str(ROOT)  # nodes have it too
    with PrivatePostgres() as server, _cluster() as cluster:
        starts: dict[str, list[float]] = {"local": [], "ray": []}
        for number in range(rounds):
            console.print(f"start {number + 1} of {rounds}")
            for engine, seconds in starts.items():
                seconds.append(time_start(server, cluster, engine, number))
        console.print("nobody dies")
        undisturbed = time_study(server, cluster, trials, kills=False)
        console.print("a node dies")
        disturbed = time_study(server, cluster, trials, kills=True)
    ratio = statistics.median(starts["ray"]) / statistics.median(starts["local"])
    figures = [
        Figure("start of eight workers, Ray beside local", ratio, " times", 1.5, at_least=False),
        Figure("one of three nodes dies", disturbed / undisturbed, " times", 1.3, at_least=False),
    ]
    rows = [[f"start, {engine}", *show_spread(seconds)] for engine, seconds in starts.items()]
    rows += [["study, undisturbed", f"{undisturbed:.1f}", "", ""]]
    rows += [["study, a node dies", f"{disturbed:.1f}", "", ""]]
    sizes = {"workers": _N_WORKERS, "nodes": _N_NODES, "per_node": _PER_NODE}
    blocks = [
        "# Ray",
        NOTE.format(rounds=rounds, trials=trials, **sizes),
        machine_line(describe_machine(), {}),
        markdown_table(FIGURE_HEADINGS, [figure.row for figure in figures]),
        markdown_table(("what", "median s", "min s", "max s"), rows),
    ]
    results_dir.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(blocks) + "\n"
    (results_dir / "ray.md").write_text(text)
    raw = {"starts": starts, "undisturbed": undisturbed, "disturbed": disturbed}
    (results_dir / "ray.json").write_text(json.dumps(raw, indent=1) + "\n")
    print(text)


@contextlib.contextmanager
def _cluster() -> Iterator[Any]:
    """Start a cluster whose head trains nothing; Ray reads how to sign in when it is imported."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, **_NODE}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _nodes(cluster: Any, counts: list[int]) -> Iterator[list[Any]]:
    nodes = [cluster.add_node(num_cpus=n, **_NODE) for n in counts]
    try:
        yield nodes
    finally:
        for node in nodes:
            with contextlib.suppress(ValueError, KeyError):  # one that has been killed
                cluster.remove_node(node)


def time_start(server: PrivatePostgres, cluster: Any, engine: str, number: int) -> float:
    """Return the seconds from the command to the start of as many trials as there are workers."""
    study = f"start-{engine}-{number}"
    options = {"--workers": f"{_N_WORKERS}", "--trials": f"{_N_WORKERS}"}
    if engine == "ray":
        options |= {"--engine": "ray", "--address": cluster.address}
    with _nodes(cluster, [_N_WORKERS]) if engine == "ray" else contextlib.nullcontext():
        began = datetime.now(UTC).replace(tzinfo=None)
        # Nobody shall be done before everybody has begun, and so take two.
        _run(server, study, options, "for_long")
    with sqlalchemy.create_engine(server.url).connect() as connection:
        started = connection.execute(_STARTED).scalars().all()[-_N_WORKERS:]
    return float((max(started) - began).total_seconds())


def time_study(server: PrivatePostgres, cluster: Any, n_trials: int, *, kills: bool) -> float:
    """Return the seconds of a study on three nodes, one of which is killed in the middle."""
    engine = sqlalchemy.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        before = connection.execute(_ENDED).scalar_one()
    options = {"--engine": "ray", "--address": cluster.address, "--lease": "5s"}
    options |= {"--workers": f"{_N_NODES * _PER_NODE}", "--trials": f"{n_trials}"}
    with _nodes(cluster, [_PER_NODE] * _N_NODES) as nodes:

        def kill_one() -> None:
            with engine.connect() as connection:
                while connection.execute(_ENDED).scalar_one() < before + n_trials // 2:
                    time.sleep(0.2)
            cluster.remove_node(nodes[0], allow_graceful=False)

        if kills:
            threading.Thread(target=kill_one, daemon=True).start()
        seconds = _run(server, f"killed-{kills}", options, "briefly")
    with engine.connect() as connection:
        assert connection.execute(_ENDED).scalar_one() == before + n_trials
    engine.dispose()
    return seconds


def _run(server: PrivatePostgres, study: str, options: Mapping[str, str], objective: str) -> float:
    """Run a study of an objective that sleeps; return the seconds it took."""
    url = server.url.render_as_string(hide_password=False)
    command = ["run", "--no-confirm", "--pruner", "none", "--study", study, "--storage", url]
    command += ["--objective", f"benchmarks.sleeping:{objective}", "--output", "best.json"]
    command += [word for option in options.items() for word in option]
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(
            is_quick=False, data_dir=Path(name), servers=(), folder=Path(name), announce=print
        )
        return run_python(setting, ["-m", "tuner", *command])


if __name__ == "__main__":
    typer.run(main)
