"""SimpleNet on MNIST tuned by a script as people write it, to compare ``tuner run`` with.

    python benchmarks/textbook_script.py --trials 8 --epochs 3 --pruner none --data-dir data

Imports nothing of this project. Optuna's and PyTorch's documentation put together: torchvision's
data set, a DataLoader, ``study.optimize`` in one process. MNIST must lie in the data directory.
"""

import argparse

import optuna
import torch
from torch import nn, optim
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

N_TRAIN, N_VALIDATION = 50_000, 10_000


class SimpleNet(nn.Module):
    """One hidden layer of 128 units."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(batch, 10)`` of images ``(batch, 1, 28, 28)``."""
        x = x.view(-1, 28 * 28)
        logits: torch.Tensor = self.fc2(functional.relu(self.fc1(x)))
        return logits


def get_loaders(data_dir: str, train_size: int) -> tuple[DataLoader, DataLoader]:  # type: ignore[type-arg]
    """Return loaders of training and validation images."""
    dataset = datasets.MNIST(data_dir, train=True, transform=transforms.ToTensor())
    train_set = Subset(dataset, range(train_size))
    valid_set = Subset(dataset, range(N_TRAIN, N_TRAIN + N_VALIDATION))
    return (
        DataLoader(train_set, batch_size=64, shuffle=True),
        DataLoader(valid_set, batch_size=64),
    )


def evaluate(model: nn.Module, loader: DataLoader) -> float:  # type: ignore[type-arg]
    """Return the accuracy."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += (model(images).argmax(dim=1) == labels).sum().item()
    return correct / N_VALIDATION


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--pruner", choices=["median", "none"], default="median")
    parser.add_argument("--train-size", type=int, default=N_TRAIN)
    parser.add_argument("--storage", default="sqlite:///textbook.db")
    parser.add_argument("--data-dir", default="data")
    args = parser.parse_args()
    train_loader, valid_loader = get_loaders(args.data_dir, args.train_size)

    def objective(trial: optuna.Trial) -> float:
        weight_decay = trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
        lr = trial.suggest_float("lr", 1e-3, 1, log=True)
        model = SimpleNet()
        optimizer = optim.SGD(model.parameters(), lr=lr, weight_decay=weight_decay)
        for epoch in range(args.epochs):
            model.train()
            for images, labels in train_loader:
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(images), labels)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            accuracy = evaluate(model, valid_loader)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    median = args.pruner == "median"
    study = optuna.create_study(
        storage=args.storage,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner() if median else optuna.pruners.NopPruner(),
    )
    study.optimize(objective, n_trials=args.trials)
    print(study.best_trial.params, study.best_value)


if __name__ == "__main__":
    main()
