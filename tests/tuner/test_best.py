"""Other projects read the answer by `tuner.load_best`: a file, an address, or the database."""

import functools
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import tuner
from storage import create_storage
from tests.conftest import ROOT
from tests.tuner.answers import confirm, make_study
from tuner.answer.best import Pin
from tuner.answer.document import build_document
from tuner.answer.export import render
from tuner.answer.record import Wish, list_versions, publish
from tuner.errors import AnswerError
from tuner.study import LoadedStudy, open_confirmation


@pytest.fixture
def loaded(sqlite_url: str) -> LoadedStudy:
    """Return a confirmed study."""
    loaded = make_study(sqlite_url)
    confirm(loaded)
    return loaded


@pytest.fixture
def file(loaded: LoadedStudy, tmp_path: Path) -> Path:
    """Return the answer as `tuner run` writes it."""
    path = tmp_path / "web" / "best.json"
    path.parent.mkdir()
    path.write_text(render(build_document(loaded), "json"))
    return path


def test_file_gives_frozen_typed_values(file: Path) -> None:
    """Numbers, nested facts and tuples, none of which can be changed by mistake."""
    best = tuner.load_best(file)
    assert (best.study, best.rule, best.weight_decay, best.lr) == ("s's", "1se", 1e-3, 0.2)
    assert best.evidence.range == (1e-5, 1e-2)
    assert best.evidence.verdict is not None
    assert best.evidence.verdict.kind == "does not matter"
    assert best.meaning.dataset is not None
    assert best.meaning.dataset.n_train == 50_000
    assert best.pinned is None
    with pytest.raises(FrozenInstanceError):
        best.weight_decay = 0.0  # type: ignore[misc]


def test_file_of_a_pinned_trial_says_so(loaded: LoadedStudy, file: Path) -> None:
    """Whose choice it is reaches the other project."""
    file.write_text(json.dumps(build_document(loaded, pin=Pin(0, "why", "a@b"))))
    assert tuner.load_best(str(file)).pinned == Pin(0, "why", "a@b")


def test_file_is_read_with_nothing_but_the_standard_library(file: Path) -> None:
    """A project that has none of our dependencies reads it; little else of ours is imported."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f'import tuner; best = tuner.load_best({str(file)!r}, study="s\'s")\n'
        "assert not any('site-packages' in path for path in sys.path)\n"
        "print(best.weight_decay, *sorted(m for m in sys.modules if m.startswith('tuner')))\n"
        "foreign = {m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
        "assert foreign <= {'tuner', '__main__'}, foreign\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [
        "0.001",
        "tuner",
        "tuner.answer",
        "tuner.answer.best",
        "tuner.answer.loading",
        "tuner.answer.reading",
        "tuner.errors",
        "tuner.names",
        "tuner.strict_json",
    ]


def test_file_of_the_first_release_is_read(file: Path) -> None:
    """Facts that it lacks are what they were then."""
    document = json.loads(file.read_text())
    for part, names in {
        "evidence": ["test_standard_error", "test_n_seeds"],
        "provenance": ["version", "source", "confirmation"],
    }.items():
        for name in names:
            del document[part][name]
    del document["pinned"]
    file.write_text(json.dumps(document))
    best = tuner.load_best(file)
    assert (best.pinned, best.provenance.version, best.provenance.source) == (None, None, "search")
    assert best.evidence.test_n_seeds == 0


def test_file_of_a_newer_release_is_read(file: Path) -> None:
    """What is not known is passed over."""
    document = {**json.loads(file.read_text()), "new": 1}
    document["evidence"]["newer"] = {"x": 2}
    file.write_text(json.dumps(document))
    assert tuner.load_best(file).weight_decay == 1e-3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is no JSON document"),
        ("[1]", "names no schema"),
        ('{"schema": "other/2"}', "its schema is 'other/2', not 'lambda-tuner/best/1'"),
        ('{"schema": "lambda-tuner/best/1"}', "it has no 'study'"),
        ({"weight_decay": "1e-3"}, "its 'weight_decay' is '1e-3'"),
        ({"lr": True}, "its 'lr' is True"),
        ({"lr": 0}, "its 'lr' is 0.0, not > 0"),
        ({"weight_decay": -3.4}, "its 'weight_decay' is -3.4, not >= 0"),
        ({"lr": float("nan")}, "NaN is no number"),
        ('{"lr": 1e999}', "1e999 is no number"),
        ({"lr": 10**400}, "its 'lr' is too large"),
        ("[" * 200_000, "is no JSON document"),
        ({"rule": "median"}, "its 'rule' is 'median'"),
        ({"evidence": 3}, "its 'evidence' is 3"),
        ({"params": []}, r"its 'params' is \[\]"),
    ],
)
def test_file_that_is_no_answer_is_refused_in_one_line(
    file: Path, content: Any, problem: str
) -> None:
    """The line names the file and what is wrong in it."""
    if isinstance(content, dict):
        content = json.dumps({**json.loads(file.read_text()), **content})
    file.write_text(content)
    with pytest.raises(AnswerError, match=f"best.json .*{problem}"):
        tuner.load_best(file)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The error is ours, with the reason."""
    with pytest.raises(AnswerError, match=r"Cannot read .*nothing\.json: No such file"):
        tuner.load_best(tmp_path / "nothing.json")


def test_file_of_another_study_or_rule_is_refused(file: Path) -> None:
    """Who says which one it wants does not get another."""
    assert tuner.load_best(file, "s's", "1se").rule == "1se"
    with pytest.raises(AnswerError, match="is of study \"s's\", not 'mine'"):
        tuner.load_best(file, "mine")
    with pytest.raises(AnswerError, match="is of rule '1se', not 'min'"):
        tuner.load_best(file, rule="min")


@pytest.fixture
def address(file: Path) -> Iterator[str]:
    """Serve the file's folder on loopback."""
    handler = functools.partial(_Quiet, directory=str(file.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def test_address_is_read_as_the_file(file: Path, address: str) -> None:
    """A document on a web server is the same answer."""
    assert tuner.load_best(f"{address}/best.json") == tuner.load_best(file)


def test_address_that_cannot_be_read_is_an_error_with_the_reason(address: str) -> None:
    """Missing, not JSON, or nobody there: one line each."""
    for url, problem in {
        f"{address}/other.json": "404 File not found",
        f"{address}/": "is no JSON document",
        "http://127.0.0.1:1/best.json": "Connection refused",
        "http://[bad": "Cannot read",
    }.items():
        with pytest.raises(AnswerError, match=problem):
            tuner.load_best(url)


def test_storage_gives_the_last_recorded_answer(loaded: LoadedStudy, sqlite_url: str) -> None:
    """What was published counts, pins too; a rule asks for what `tuner export` would say."""
    open_confirmation(loaded)  # has no answer of its own
    assert tuner.load_best(sqlite_url).rule == "1se"
    assert tuner.load_best(sqlite_url).provenance.version is None
    publish(loaded, Wish(pin=2, reason="x"))
    best = tuner.load_best(sqlite_url, "s's")
    assert (best.weight_decay, best.provenance.version) == (1e-4, 1)
    assert best.pinned is not None
    assert tuner.load_best(sqlite_url, rule="min").weight_decay == 0
    assert len(list_versions(loaded)) == 1


def test_storage_with_several_studies_wants_a_name(sqlite_url: str) -> None:
    """The error names them."""
    make_study(sqlite_url, "one")
    make_study(sqlite_url, "two")
    with pytest.raises(AnswerError, match="holds 2: one, two; name one"):
        tuner.load_best(sqlite_url)
    assert tuner.load_best(sqlite_url, "two").study == "two"
    with pytest.raises(AnswerError, match="tuner confirm"):
        tuner.load_best(sqlite_url, "two", "1se")


def test_storage_without_a_study_or_of_no_known_kind_is_an_error(sqlite_url: str) -> None:
    """No study, and no database."""
    create_storage(sqlite_url)
    with pytest.raises(AnswerError, match="holds none"):
        tuner.load_best(sqlite_url)
    with pytest.raises(AnswerError, match=r"not at ftp://\Z"):
        tuner.load_best("ftp://me:t0ken@host/best.json")
    with pytest.raises(AnswerError, match=r"names no database.*") as caught:
        tuner.load_best("postgresql://me:s3cret@host")
    assert "s3cret" not in repr(caught.value)


def test_path_that_no_file_can_have_is_an_answer_error(tmp_path: Path) -> None:
    """A folder, and a name that the system does not take."""
    for path in (tmp_path, "a\0b", "\ud800"):
        with pytest.raises(AnswerError, match="Cannot read"):
            tuner.load_best(path)
