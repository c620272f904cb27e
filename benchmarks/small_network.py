"""Thirty small trials as people write them: plain torch, one function, `study.optimize`.

As a module it holds the objective of ``tuner run``; as a program it is what that is compared with.
"""

import sys

import optuna
import torch
from torch import nn

N_TRIALS = 30
_N_EPOCHS, _N_BATCHES, _BATCH_SIZE = 30, 14, 32
_N_FEATURES, _N_HIDDEN, _N_CLASSES = 30, 64, 2


def objective(trial: optuna.Trial) -> float:
    """Train a network epoch by epoch; whether to prune is asked, and not obeyed."""
    lr = trial.suggest_float("lr", 1e-3, 1, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    torch.manual_seed(0)
    features = torch.randn(_N_BATCHES * _BATCH_SIZE, _N_FEATURES)
    labels = (features[:, 0] * features[:, 1] > 0).long()
    model = nn.Sequential(
        nn.Linear(_N_FEATURES, _N_HIDDEN), nn.ReLU(), nn.Linear(_N_HIDDEN, _N_CLASSES)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=weight_decay)
    accuracy = 0.0
    for epoch in range(1, _N_EPOCHS + 1):
        for batch in torch.split(torch.randperm(len(labels)), _BATCH_SIZE):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(features[batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(features).argmax(1) == labels).float().mean().item()
        trial.report(accuracy, epoch)
        trial.should_prune()
    return accuracy


if __name__ == "__main__":
    study = optuna.create_study(storage=sys.argv[1], direction="maximize")
    study.optimize(objective, n_trials=N_TRIALS)
