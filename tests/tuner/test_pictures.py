"""The pictures of λ: what they show, the files they are written to, and how a study keeps them."""

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import plotly.graph_objects as go
import pytest
from optuna_dashboard import get_note, save_note

from tests.browser import find_chromium, read_page
from tests.processes import is_alive
from tests.tuner.confirmed import make_confirmed_study, make_searched_study
from tests.tuner.conftest import wait_until
from tuner import cli
from tuner.confirmation.values import Score
from tuner.dashboard import build_app
from tuner.errors import NoResultError, PicturesError, UsageError
from tuner.pictures.browser import draw_in_browser
from tuner.pictures.figures import draw, keep_in_study, render, write_pages
from tuner.pictures.map_figure import draw_map
from tuner.pictures.note import merge_note, write_section
from tuner.pictures.path import LambdaMap, LambdaPath, build_map, build_path, get_confirmation
from tuner.pictures.path_figure import draw_path
from tuner.study import LoadedStudy

pytestmark = pytest.mark.xdist_group("pictures")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedStudy:
    """Return a study that was confirmed."""
    return make_confirmed_study(f"sqlite:///{tmp_path_factory.mktemp('pictures') / 'tuner.db'}")


@pytest.fixture(scope="module")
def path(loaded: LoadedStudy) -> LambdaPath:
    """Return its path of λ."""
    return build_path(loaded, get_confirmation(loaded))


@pytest.fixture(scope="module")
def trials(loaded: LoadedStudy) -> LambdaMap:
    """Return its map."""
    return build_map(loaded)


def _titles(figure: go.Figure) -> set[str]:
    return {annotation.text for annotation in figure.layout.annotations} - {"//"}


def _named(figure: go.Figure, start: str) -> Any:
    return next(part for part in figure.data if (part.name or "").startswith(start))


def _lines(figure: go.Figure) -> dict[str, Any]:
    return {shape.name: shape for shape in figure.layout.shapes if shape.showlegend}


def test_path_shows_lambda_on_log_axes_with_a_place_for_zero(path: LambdaPath) -> None:
    """The ladder lies on a log axis, λ = 0 on a strip of its own at its left."""
    figure = draw_path(path)
    layout = figure.layout
    assert (layout.xaxis.type, layout.xaxis.title.text) == (
        "log",
        "weight_decay (λ, torch's argument)",
    )
    assert (layout.xaxis2.type, layout.xaxis2.ticktext) == (None, ("0",))
    assert layout.xaxis2.domain[1] < layout.xaxis.domain[0]
    zeros = [trace for trace in figure.data if trace.x == (0,) and trace.error_y.array is not None]
    assert {trace.xaxis for trace in zeros} == {"x2", "x4", "x6", "x8"}


def test_path_names_each_panel_by_what_it_measures(path: LambdaPath) -> None:
    """A proportion is told in percent."""
    figure = draw_path(path)
    assert figure.layout.yaxis.tickformat == ".4~%"
    assert _titles(figure) == {
        "validation accuracy",
        "training and validation",
        "training loss",
        "weight norm ‖w‖",
    }


def test_path_with_exact_zeros_shows_their_share(path: LambdaPath) -> None:
    """As of L1 by proximal steps; where no weight is 0 there is no such panel."""

    def with_share(share: float) -> LambdaPath:
        score = Score(mean=share, standard_error=0.01, n_seeds=5)
        rungs = [replace(r, measures={**r.measures, "zero_share": score}) for r in path.rungs]
        return replace(path, rungs=tuple(rungs))

    assert "weights that are 0" not in _titles(draw_path(with_share(0.0)))
    figure = draw_path(with_share(0.25))
    assert "weights that are 0" in _titles(figure)
    assert any(trace.y and set(trace.y) == {0.25} for trace in figure.data)


def test_path_of_a_function_has_one_panel(path: LambdaPath) -> None:
    """A function keeps nothing but its values, and its value is no accuracy."""
    rungs = [replace(rung, measures={"value": rung.measures["value"]}) for rung in path.rungs]
    named = replace(path.named, metric="value", is_proportion=False, strength="l1")
    figure = draw_path(replace(path, named=named, trained=(), rungs=tuple(rungs)))
    assert _titles(figure) == {"value"}
    assert figure.layout.yaxis.tickformat is None
    assert figure.layout.xaxis.title.text == "l1"


def test_path_on_a_linear_scale_has_zero_among_the_others(path: LambdaPath) -> None:
    """A dropout rate needs no strip."""
    named = replace(path.named, strength="dropout", has_log_strength=False)
    layout = draw_path(replace(path, named=named)).layout
    assert layout.xaxis.type is None
    assert layout.xaxis.range[0] < 0
    assert layout.xaxis.title.text == "dropout"


def test_path_shows_profile_intervals_and_single_trainings(path: LambdaPath) -> None:
    """The surface is a line without a band, the check has t-intervals, each training is a dot."""
    figure = draw_path(path)
    surface = next(t for t in figure.data if (t.name or "").startswith("surface") and t.showlegend)
    ladder = [point for point in path.profile if point.strength > 0]
    assert list(surface.y) == pytest.approx([point.value for point in ladder], rel=1e-5)
    means = next(t for t in figure.data if t.x == (0,) and t.error_y.array is not None)
    first = path.rungs[0].measures["value"]
    assert means.error_y.array[0] == pytest.approx(2.776 * (first.standard_error or 0), rel=1e-3)
    dots = [t for t in figure.data if t.hoverinfo == "skip" and t.yaxis == "y"]
    assert sum(len(trace.x) for trace in dots) == len(path.trained)


def test_path_marks_both_choices_where_they_are(path: LambdaPath) -> None:
    """λ_min = 0 is marked in the strip, λ_1se on the log axis, each with its value."""
    lines = _lines(draw_path(replace(path, lambda_min=0, lambda_1se=3)))
    assert lines["λ<sub>min</sub> = 0"].xref == "x2"
    one_se = lines["λ<sub>1se</sub> = 5.62e-5"]
    assert (one_se.xref, one_se.x0) == ("x", path.rungs[3].strength)


def test_path_marks_a_choice_of_both_rules_once(path: LambdaPath) -> None:
    """One line over another would be read as one of the two."""
    lines = _lines(draw_path(replace(path, lambda_min=3, lambda_1se=3)))
    assert [name for name in lines if "λ" in name] == [
        "λ<sub>min</sub> = λ<sub>1se</sub> = 5.62e-5"
    ]


def test_path_of_an_older_answer_is_its_ladder(path: LambdaPath) -> None:
    """Without a surface the means are joined, as they were."""
    traces = draw_path(replace(path, profile=(), trained=())).data
    assert "lines+markers" in {trace.mode for trace in traces}
    assert not any((trace.name or "").startswith("surface") for trace in traces)


def test_path_shows_what_the_search_promised(path: LambdaPath) -> None:
    """The best trial's value is a line, far above the profile if it was luck."""
    line = _lines(draw_path(path))["the search's best value"]
    assert line.y0 == line.y1 == path.search_value


def test_path_is_not_flattened_by_a_hopeless_rung(path: LambdaPath) -> None:
    """Where the profile falls far it leaves the large panel; λ = 0 always stays in it."""
    hopeless = path.profile[-1].model_copy(update={"value": 0.1})
    figure = draw_path(replace(path, profile=(*path.profile[:-1], hopeless)))
    low, high = figure.layout.yaxis.range
    assert low < path.rungs[0].measures["value"].mean < high
    assert high - low < 0.05


def test_dropped_rungs_are_hollow(path: LambdaPath) -> None:
    """What failed on some seed is told apart."""
    means = [trace for trace in draw_path(path).data if trace.error_y.array and trace.yaxis == "y"]
    symbols = [symbol for trace in means for symbol in trace.marker.symbol]
    dropped = [rung.is_dropped for rung in path.rungs if rung.source != "search"]
    assert sorted(symbol.endswith("-open") for symbol in symbols) == sorted(dropped)


def test_figures_do_not_interpret_a_studys_name(path: LambdaPath, trials: LambdaMap) -> None:
    """A name with markup in it is shown as it is."""
    name = "<a href='//evil.example'>x</a>"
    for figure in (draw_path(replace(path, study=name)), draw_map(replace(trials, study=name))):
        assert "<a" not in figure.layout.title.text


def test_map_tells_outcomes_apart_by_symbol(trials: LambdaMap) -> None:
    """Complete, pruned and diverged trials are three groups; the first two share their colours."""
    figure = draw_map(trials)
    groups = [_named(figure, name) for name in ("complete", "pruned", "diverged")]
    assert len({group.marker.symbol for group in groups}) == 3
    assert sum(len(group.x) for group in groups) == len(trials.points)
    assert [group.marker.coloraxis for group in groups] == ["coloraxis", "coloraxis", None]
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"


def test_map_stars_the_best_trial(trials: LambdaMap) -> None:
    """The best complete trial is on top of all others."""
    star = draw_map(trials).data[-1]
    best = next(point for point in trials.points if point.number == trials.best)
    assert (star.marker.symbol, star.x[0]) == ("star", pytest.approx(best.strength, rel=1e-3))


def test_map_with_a_path_shows_what_was_trained(path: LambdaPath, trials: LambdaMap) -> None:
    """What was checked is marked, λ = 0 included."""
    figure = draw_map(trials, path)
    checked = [trace for trace in figure.data if trace.name == "checked on others"]
    assert [len(trace.x) for trace in checked] == [10, 1]
    assert figure.layout.xaxis2.ticktext == ("0",)


def test_map_in_a_study_stays_small(trials: LambdaMap) -> None:
    """Of thousands of trials a card shows some hundreds, the best among them, and says so."""
    many = [replace(trials.points[n % 40], number=n) for n in range(5000)]
    figure = draw_map(replace(trials, points=tuple(many), best=4321), size="card")
    assert "of 5000 trials" in figure.layout.title.text
    assert figure.data[-1].text == ("4321",)
    assert len(figure.to_json()) < 40_000


@pytest.mark.parametrize(
    ("direction", "limit"), [("maximize", "≤ "), ("minimize", "≥ ")], ids=["max", "min"]
)
def test_map_colours_are_not_taken_up_by_the_worst(
    trials: LambdaMap, direction: Any, limit: str
) -> None:
    """The worst quarter shares one colour, and the scale says at which end."""
    texts = draw_map(replace(trials, direction=direction)).layout.coloraxis.colorbar.ticktext
    at = 0 if direction == "maximize" else -1
    assert [text.startswith(limit) for text in texts].index(True) == range(5)[at]


def test_pages_work_offline(path: LambdaPath, trials: LambdaMap, tmp_path: Path) -> None:
    """A page loads nothing from elsewhere, and a study's name cannot lead out of the folder."""
    files = write_pages(draw(path, trials), tmp_path / "new", "a/../b c")
    assert [file.name for file in files] == ["a_.._b_c-path.html", "a_.._b_c-map.html"]
    for file in files:
        text = file.read_text()
        assert 'src="http' not in text
        assert "Plotly.newPlot" in text


@pytest.mark.browser
def test_browser_draws_png_and_svg(path: LambdaPath, trials: LambdaMap, tmp_path: Path) -> None:
    """A real Chromium, driven by Kaleido, writes pictures with the figure's text in them."""
    find_chromium()
    files = render(draw(path, trials), ("png", "svg"), tmp_path, "digits")
    assert [file.name for file in files] == [
        "digits-path.png",
        "digits-path.svg",
        "digits-map.png",
        "digits-map.svg",
    ]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[0].stat().st_size > 50_000
    assert "validation accuracy" in files[1].read_text()


def test_pictures_without_kaleido_say_what_to_install(
    path: LambdaPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra that brings it is named."""
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(PicturesError, match=r"pip install 'lambda-tuner\[plots\]'"):
        render(draw(path, None), ("png",), tmp_path, "digits")


def test_pictures_without_a_browser_say_what_to_install(
    path: LambdaPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser and the variable that points to one are named."""
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(PicturesError, match=r"need Chromium .* BROWSER_PATH"):
        render(draw(path, None), ("png",), tmp_path, "digits")


@pytest.mark.heavy
def test_study_keeps_both_figures_and_a_note(storage_url: str) -> None:
    """Each database gives back the figures whole; a second call replaces them."""
    loaded = make_confirmed_study(storage_url, n_trials=8, n_rungs=3)
    confirmation = get_confirmation(loaded)
    keep_in_study(loaded, confirmation)
    first = loaded.storage.get_study_system_attrs(loaded.study_id)
    keep_in_study(loaded, confirmation)
    second = loaded.storage.get_study_system_attrs(loaded.study_id)
    assert first == second
    for graph in ("lambda-path", "lambda-map"):
        prefix = f"dashboard:plot_data:{graph}:"
        chunks = [second[f"{prefix}{n}"] for n in range(sum(k.startswith(prefix) for k in second))]
        assert json.loads("".join(chunks))["layout"]["paper_bgcolor"] == "white"
    assert "**λ matters here" in get_note(loaded.study)


def test_note_that_people_wrote_is_kept(loaded: LoadedStudy) -> None:
    """Only our own section is replaced, wherever people have moved it."""
    save_note(loaded.study, "# Mine\nfirst")
    keep_in_study(loaded, get_confirmation(loaded))
    save_note(loaded.study, get_note(loaded.study) + "last")
    keep_in_study(loaded, get_confirmation(loaded))
    note = get_note(loaded.study)
    assert note.startswith("# Mine\nfirst\n\n[//]: #")
    assert note.endswith("[//]: # (lambda-tuner: end)\n\nlast\n")
    assert note.count("## Which λ?") == 1


def test_note_whose_end_mark_was_deleted_loses_nothing() -> None:
    """Half a section is people's text by now."""
    torn = merge_note("", "old").replace("[//]: # (lambda-tuner: end)", "theirs")
    assert "theirs" in merge_note(torn, "new")


def test_note_tells_rungs_choice_and_test_accuracy(loaded: LoadedStudy) -> None:
    """Each rung has a row; the chosen ones say so, with their test accuracy if there is one."""
    score = Score(mean=0.8765, standard_error=0.0012, n_seeds=5)
    confirmation = get_confirmation(loaded).model_copy(update={"test": {"min": score}})
    text = write_section(confirmation)
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 1 + 11
    assert "test score 0.8765 ± 0.0012" in text
    assert "Optimism of the search: " in text


Command = Callable[..., None]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Return a function that carries out `tuner path` within this process."""

    def run(loaded: LoadedStudy, *arguments: str) -> None:
        where = ("--storage", loaded.storage.url, "--study", loaded.name)
        folder = ("--output-dir", str(tmp_path))
        cli.app(["path", *where, *folder, *arguments], standalone_mode=False)

    return run


def test_command_writes_pages_and_prints_numbers(
    loaded: LoadedStudy, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json is one document: the numbers behind the path, and the files."""
    command(loaded, "--format", "html", "--json")
    document = json.loads(capsys.readouterr().out)
    assert len(document["rungs"]) == 11
    assert document["files"] == [str(tmp_path / f"digits-{name}.html") for name in ("path", "map")]
    assert all(Path(file).exists() for file in document["files"])


def test_command_without_a_browser_writes_pages_all_the_same(
    loaded: LoadedStudy,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was not asked for by name is left out with one line; what was is an error."""
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    command(loaded, "--only", "path")
    assert "need Chromium" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["digits-path.html"]
    with pytest.raises(PicturesError, match="need Chromium"):
        command(loaded, "--only", "map", "--format", "svg,html")
    assert (tmp_path / "digits-map.html").exists()


def test_command_before_confirmation_draws_the_map_only(
    command: Command, sqlite_url: str, tmp_path: Path
) -> None:
    """Without fresh seeds there is no path, and nothing is written; the map can be had."""
    loaded = make_searched_study(sqlite_url, n_trials=5)
    with pytest.raises(NoResultError, match="tuner confirm"):
        command(loaded, "--format", "html")
    assert list(tmp_path.glob("*.html")) == []
    command(loaded, "--format", "html", "--only", "map")
    assert [file.name for file in tmp_path.glob("*.html")] == ["digits-map.html"]


@pytest.mark.parametrize(
    ("option", "value"), [("--format", "html,gif"), ("--only", "both")], ids=["format", "only"]
)
def test_command_with_an_unknown_name_says_which_there_are(
    loaded: LoadedStudy, command: Command, option: str, value: str
) -> None:
    """Wrong usage names what was given."""
    with pytest.raises(UsageError, match=f"{option} {value}: choose"):
        command(loaded, option, value)


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.mark.browser
def test_dashboard_shows_figures_and_note(loaded: LoadedStudy, tmp_path: Path) -> None:
    """A real Chromium draws both figures on the study's page, and the note on its own."""
    find_chromium()
    keep_in_study(loaded, get_confirmation(loaded))
    app = build_app(loaded.storage.url, is_writable=False)
    with make_server("127.0.0.1", 0, app, _ThreadingServer, _QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        page = f"http://127.0.0.1:{server.server_port}/dashboard/studies/1"
        figures = read_page(page, tmp_path / "profile")
        note = read_page(f"{page}/note", tmp_path / "profile")
        server.shutdown()
        thread.join()
    assert "checked on others" in figures
    assert "training loss" in figures
    assert "Which λ?" in note
    assert "lambda-tuner: begin" not in note


def test_browser_that_hangs_is_ended_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried twice; neither it nor what drives it is left behind."""
    pids, hung = tmp_path / "pids", tmp_path / "browser"
    hung.write_text(f"#!/bin/sh\necho $$ >> {pids}\nexec sleep 3600\n")
    hung.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(hung))
    with pytest.raises(PicturesError, match=r"2 times not answered within 2 s: .* --format html"):
        draw_in_browser([{"fig": {"data": []}, "path": str(tmp_path / "x.svg")}], seconds=2)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    wait_until(lambda: not any(is_alive(pid) for pid in started))
