"""The command that trains once, outside any search: `tuner train`.

A part of the command line: prints, and leaves exit statuses of errors to `tuner.cli`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tuner.commands import options, worker_options
from tuner.errors import UsageError
from tuner.strict_json import to_json
from tuner.workers.devices import find_n_threads

if TYPE_CHECKING:
    from objectives import EpochResult


def add_train_command(app: typer.Typer) -> None:
    """Add the command."""
    command = app.command(epilog="Example: tuner train --weight-decay 1e-4 --lr 0.3 --epochs 3")
    with_options = options.with_spec_options(
        "objective", "dataset", "train_size", "batch_size", "last_batch", "epochs", "seed"
    )
    command(with_options(train))


def train(
    context: typer.Context,
    train_weight_decay: options.TrainWeightDecay = None,
    train_lr: options.TrainLr = None,
    trial: options.TrialNumber = None,
    config: options.Config = None,
    storage: options.Storage = options.DEFAULT_STORAGE,
    storage_password_file: options.StoragePasswordFile = None,
    study: options.StudyName = options.DEFAULT_STUDY,
    data_dir: worker_options.DataDir = Path("data"),
    device: worker_options.Device = "auto",
    threads: worker_options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Train once with a given λ and lr, or replay a trial of a study, and print each epoch."""
    from tuner.study import load_study_to_read
    from tuner.train import TrainRequest, replay_trial, train_once

    request = TrainRequest(data_dir, device, find_n_threads(threads))
    if trial is not None:
        if train_weight_decay is not None or train_lr is not None or options.given(context):
            raise UsageError("--trial replays a trial as it was: leave the other settings out")
        loaded = load_study_to_read(storage, study)
        replayed = replay_trial(loaded, trial, request)
        _print_epochs("validation", ((r, r.value, was) for r, was in replayed), as_json=as_json)
    elif train_weight_decay is None or train_lr is None:
        raise UsageError("Give --weight-decay and --lr, or --study and --trial to replay one")
    else:
        params = {"weight_decay": train_weight_decay, "lr": train_lr}
        trained = train_once(options.given(context), params, request)
        _print_epochs("test", ((r, accuracy, None) for r, accuracy in trained), as_json=as_json)


def _print_epochs(
    kind: str, epochs: "Iterable[tuple[EpochResult, float, float | None]]", *, as_json: bool
) -> None:
    """Print each epoch when it is over, or all of them as one document at the end."""
    rows = []
    for result, accuracy, recorded in epochs:
        was = "" if recorded is None else f" (recorded: {recorded:.4f})"
        loss = f"Epoch {result.epoch}, Average Loss: {result.loss:.4f}"
        if not as_json:
            print(f"{loss}, {kind.title()} Accuracy: {accuracy:.4f}{was}", flush=True)
        row = {"epoch": result.epoch, "loss": result.loss, f"{kind}_accuracy": accuracy}
        rows.append(row | ({} if recorded is None else {"recorded": recorded}))
    if as_json:
        print(to_json(rows))
