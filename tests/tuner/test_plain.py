"""Terminals, pipes and logs that take only ASCII are told all the same, and no name is changed."""

import io
import re

import optuna
import pytest

from storage import create_storage
from tests.conftest import Cli
from tests.tuner.answers import confirm, make_study
from tuner.logs import say_end
from tuner.plain import make_output_plain, visible
from tuner.study import create_or_resume

_ASCII = {"PYTHONIOENCODING": "ascii"}
# Python takes the locale C for UTF-8, unless told not to.
_BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(autouse=True)
def _no_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "environment", [_ASCII, _BARE, {"LANG": "C"}, {"LC_ALL": "POSIX"}], ids=" ".join
)
@pytest.mark.parametrize("command", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help_is_ascii_where_nothing_else_is_understood(
    cli: Cli, environment: dict[str, str], command: list[str]
) -> None:
    """λ is `lambda`, and what is drawn around it keeps its form."""
    result = cli(*command, **environment, COLUMNS="100")
    assert result.returncode == 0, result.stderr
    assert (result.stdout + result.stderr).isascii()
    assert "the best lambda" in result.stdout
    assert len(re.findall(r"^\|.*lambda.* \|$", result.stdout, re.MULTILINE)) > 3


def test_answer_is_told_in_ascii_and_names_stay_names(cli: Cli, sqlite_url: str) -> None:
    """Verdict, numbers, tables and exports; what somebody has named is escaped, or as it was."""
    confirm(make_study(sqlite_url, "größe"))
    for environment, name in ((_ASCII, r"gr\xf6\xdfe"), ({"LANG": "C"}, "größe")):
        told = ""
        for command in (["status"], ["export", "--format", "toml"]):
            result = cli(*command, TUNER_STORAGE=sqlite_url, TUNER_STUDY="größe", **environment)
            assert result.returncode == 0, result.stderr
            told += result.stdout + result.stderr
        assert name in told
        assert told.replace(name, "").isascii()
        assert "lambda_min" in told
        assert "+/-" in told


@pytest.mark.parametrize(
    ("environment", "said"), [(_ASCII, r"gr\xf6\xdfe"), (_BARE, "is no text in this locale")]
)
def test_name_that_ascii_does_not_have_is_refused_in_a_line(
    cli: Cli, sqlite_url: str, environment: dict[str, str], said: str
) -> None:
    """Whether there is no such study, or Python could not even read the name."""
    make_study(sqlite_url, "digits")
    result = cli("status", "--storage", sqlite_url, "--study", "größe", **environment)
    assert result.returncode in (1, 2)
    assert result.stderr.isascii()
    assert result.stderr.count("\n") == 1, result.stderr
    assert said in result.stderr


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("ascii", "λ ± → ü 中 \udcff", r"lambda +/- -> \xfc \u4e2d \udcff"),
        ("latin-1", "λ ± ü 中", r"lambda +/- ü \u4e2d"),
        ("utf-8", "λ ± ü \ud800", "λ ± ü \\ud800"),
        ("ascii", "| λ and λ            |\nλ  b  |", "| lambda and lambda  |\nlambda  b |"),
        ("ascii", "λ 'a  b'", "lambda 'a  b'"),
    ],
)
def test_what_a_stream_cannot_take_is_written_in_words(
    monkeypatch: pytest.MonkeyPatch, encoding: str, text: str, expected: str
) -> None:
    """Our own signs as words, all else escaped; padding makes room."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", stream)
    make_output_plain({})
    stream.write(text)
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == expected  # type: ignore[attr-defined]


_EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp\r"


def test_names_and_notes_tell_the_terminal_nothing(call: Cli, sqlite_url: str) -> None:
    """Whatever another program, or a stranger, has put into a trial; the JSON has it as it is."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", {}, n_trials=1)
    trial = optuna.trial.create_trial(
        params={f"x{_EVIL}": 0.5},
        distributions={f"x{_EVIL}": optuna.distributions.FloatDistribution(0, 1)},
        state=optuna.trial.TrialState.FAIL,
        user_attrs={"worker": f"host:1{_EVIL}", "error": f"it failed {_EVIL}"},
    )
    loaded.study.add_trial(trial)
    where = {"TUNER_STORAGE": sqlite_url, "TUNER_STUDY": "s"}
    shown = call("trials", **where).stdout
    assert "host:1" in shown
    assert visible(shown) == shown
    missing = call("status", "--study", f"no{_EVIL}", TUNER_STORAGE=sqlite_url)
    assert missing.returncode == 1
    assert visible(missing.stderr) == missing.stderr


def test_why_a_command_ends_tells_the_terminal_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """What a server has answered is among it."""
    say_end(f"the server says: {_EVIL}λ ü")
    assert capsys.readouterr().err == "tuner: the server says: ?]0;title??[2J?31m?gnp?λ ü\n"
