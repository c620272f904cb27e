"""The command that trains once, outside any search: `tuner train`.

A part of the command line: prints, and leaves exit statuses of errors to `tuner.cli`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tuner.commands import options, worker_options
from tuner.errors import UsageError

if TYPE_CHECKING:
    from objectives import EpochResult


def add_train_command(app: typer.Typer) -> None:
    """Add the command."""
    command = app.command(epilog="Example: tuner train --weight-decay 1e-4 --lr 0.3 --epochs 3")
    with_options = options.with_spec_options(
        "objective", "dataset", "train_size", "batch_size", "epochs", "seed"
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
    threads: worker_options.Threads = 1,
) -> None:
    """Train once with a given λ and lr, or replay a trial of a study, and print each epoch."""
    from objectives import Hyperparameters
    from tuner.study import load_study_to_read
    from tuner.train import TrainRequest, replay_trial, train_once

    request = TrainRequest(data_dir, device, threads)
    if trial is not None:
        if train_weight_decay is not None or train_lr is not None or options.given(context):
            raise UsageError("--trial replays a trial as it was: leave the other settings out")
        loaded = load_study_to_read(storage, study)
        for result, recorded in replay_trial(loaded, trial, request):
            _print_epoch(result, "Validation", result.accuracy, recorded)
    elif train_weight_decay is None or train_lr is None:
        raise UsageError("Give --weight-decay and --lr, or --study and --trial to replay one")
    else:
        hyperparameters = Hyperparameters(train_weight_decay, train_lr)
        for result, accuracy in train_once(options.given(context), hyperparameters, request):
            _print_epoch(result, "Test", accuracy)


def _print_epoch(
    result: "EpochResult", kind: str, accuracy: float, recorded: float | None = None
) -> None:
    was = "" if recorded is None else f" (recorded: {recorded:.4f})"
    line = f"Epoch {result.epoch}, Average Loss: {result.loss:.4f}, {kind} Accuracy: {accuracy:.4f}"
    print(line + was, flush=True)
