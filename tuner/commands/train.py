"""The command that trains once, outside any search: `tuner train`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from objectives.settings import SETTINGS
from tuner.commands import options, spec_options, worker_options
from tuner.errors import UsageError
from tuner.plain import show
from tuner.ranges import read_values
from tuner.strict_json import to_json
from tuner.workers.devices import find_n_threads

if TYPE_CHECKING:
    from objectives import EpochResult


# One value each, where a search has a range: so with environment variables of their own.
_TrainedDecay = Annotated[
    float | None,
    typer.Option(
        "--weight-decay", envvar="TUNER_TRAIN_WEIGHT_DECAY", help="λ.", metavar="X", min=0
    ),
]
_Lr = Annotated[
    float | None,
    typer.Option("--lr", envvar="TUNER_TRAIN_LR", help="Learning rate.", metavar="X", min=0),
]
_Set = Annotated[
    list[str] | None,
    options.option(
        "--set",
        "Another parameter, of training or of the model; may be repeated.",
        metavar="NAME=VALUE",
        show_default="none",
    ),
]


@spec_options.with_spec_options(
    *("objective", "objective_options", "dataset", "train_size", "label_noise", "batch_size"),
    *("last_batch", "epochs", "seed", "fix", *SETTINGS),
)
@options.with_study
def train(
    context: typer.Context,
    train_weight_decay: _TrainedDecay = None,
    train_lr: _Lr = None,
    set_: _Set = None,
    trial: options.TrialNumber = None,
    *,
    storage: str,
    study: str,
    data_dir: worker_options.DataDir = Path("data"),
    device: worker_options.Device = "auto",
    threads: worker_options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Train once with a given λ and lr, or replay a trial of a study, and print each epoch."""
    from tuner.study import load_study_to_read
    from tuner.train import TrainRequest, has_test_part, plan_training, replay_trial, train_once

    request = TrainRequest(data_dir, device, find_n_threads(threads))
    params = _read_params(train_weight_decay, train_lr, set_ or [])
    if trial is not None:
        if params or spec_options.given(context):
            raise UsageError("--trial replays a trial as it was: leave the other settings out")
        loaded = load_study_to_read(storage, study)
        replayed = replay_trial(loaded, trial, request)
        name = loaded.spec.facts.metric.name
        _print_epochs(name, ((r, r.value, was) for r, was in replayed), as_json=as_json)
    elif not params:
        raise UsageError("Give --weight-decay and --lr, or --study and --trial to replay one")
    else:
        spec = plan_training(spec_options.given(context), params)
        trained = train_once(spec, params, request)
        name = spec.facts.metric.name
        if has_test_part(spec):
            name = name.replace("validation", "test", 1)
        _print_epochs(name, ((r, value, None) for r, value in trained), as_json=as_json)


def _read_params(
    weight_decay: float | None, lr: float | None, texts: Sequence[str]
) -> dict[str, Any]:
    """Return the parameters that were given; raises UsageError for one that is given twice."""
    given = {"weight_decay": weight_decay, "lr": lr}
    params = {name: value for name, value in given.items() if value is not None}
    values = read_values(texts)
    if twice := params.keys() & values.keys():
        raise UsageError(f"--set {min(twice)}: it has an option of its own, which is given, too")
    return params | values


def _print_epochs(
    metric: str, epochs: "Iterable[tuple[EpochResult, float, float | None]]", *, as_json: bool
) -> None:
    """Print each epoch when it is over, or all of them as one document at the end."""
    rows = []
    for result, value, recorded in epochs:
        was = "" if recorded is None else f" (recorded: {recorded:.4f})"
        loss = f"Epoch {result.epoch}, Average Loss: {result.loss:.4f}"
        if not as_json:
            show(f"{loss}, {metric.title()}: {value:.4f}{was}", flush=True)
        row = {"epoch": result.epoch, "loss": result.loss, metric.replace(" ", "_"): value}
        rows.append(row | ({} if recorded is None else {"recorded": recorded}))
    if as_json:
        print(to_json(rows))
