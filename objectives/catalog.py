"""What there is to train, by name: facts only, so that a name costs no import of torch."""

from dataclasses import dataclass

from objectives.facts import Recipe


@dataclass(frozen=True)
class DatasetFacts:
    """A data set's sizes, and the SHA-256 of its raw files (or arrays), one after another."""

    n_inputs: int
    n_classes: int
    n_train: int
    n_validation: int
    n_test: int
    sha256: str


OBJECTIVES: dict[str, Recipe] = {
    "simplenet": Recipe(name="simplenet", model="Linear(inputs, 128), ReLU, Linear(128, classes)"),
}

DATASETS: dict[str, DatasetFacts] = {
    "mnist": DatasetFacts(
        n_inputs=784,
        n_classes=10,
        n_train=50_000,
        n_validation=10_000,
        n_test=10_000,
        sha256="b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a",
    ),
    "fashion-mnist": DatasetFacts(
        n_inputs=784,
        n_classes=10,
        n_train=50_000,
        n_validation=10_000,
        n_test=10_000,
        sha256="14410854cf7a289477dcfc7df3f8ec24741e281cdcc425ede0d9a748ca630214",
    ),
    "digits": DatasetFacts(
        n_inputs=64,
        n_classes=10,
        n_train=1_100,
        n_validation=300,
        n_test=397,
        sha256="87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826",
    ),
}
