"""What there is to train, by name: facts only, so that a name costs no import of torch."""

from dataclasses import dataclass

from objectives.facts import MetricFacts


@dataclass(frozen=True)
class DatasetFacts:
    """A data set's sizes, and the SHA-256 of its raw files (or arrays), one after another.

    Of kmnist and cifar10, whose files only their authors have, it is of their MD5 sums. With 0
    classes its targets are numbers. ``shape`` is that of an image, none of other inputs; its
    ``channels`` lie one after another.
    """

    n_inputs: int
    n_classes: int
    n_train: int
    n_validation: int
    n_test: int
    sha256: str
    shape: tuple[int, int] | None = None
    channels: int = 1

    @property
    def metric(self) -> MetricFacts:
        """What is measured over its validation part."""
        if self.n_classes:
            return MetricFacts("validation accuracy", "maximize", is_proportion=True)
        return MetricFacts("validation r2", "maximize")


@dataclass(frozen=True)
class ModelFacts:
    """A model in words, the class that makes it, as ``module:name``, and that class's arguments.

    Each argument has a default there, and may be searched or fixed by name.
    """

    text: str
    where: str
    arguments: tuple[str, ...] = ()
    needs_images: bool = False


OBJECTIVES: dict[str, ModelFacts] = {
    "simplenet": ModelFacts(
        "Linear(inputs, 128), ReLU, Linear(128, classes)",
        "objectives.simplenet:make_simplenet",
        ("width", "depth", "dropout", "batch_norm"),
    ),
    "linear": ModelFacts("Linear(inputs, classes)", "objectives.models.linear:LinearNet"),
    "cnn": ModelFacts(
        "two of Conv(3x3), BatchNorm, ReLU, MaxPool(2), with channels and twice as many; Linear",
        "objectives.models.cnn:CNN",
        ("channels", "dropout"),
        needs_images=True,
    ),
    "rnn": ModelFacts(
        "GRU or LSTM over the rows of an image, Linear on its last state",
        "objectives.models.rnn:RowReader",
        ("cell", "width", "dropout"),
        needs_images=True,
    ),
    "transformer": ModelFacts(
        "patches of an image, TransformerEncoderLayers, Linear on their mean",
        "objectives.models.transformer:PatchReader",
        ("width", "depth", "heads", "dropout"),
        needs_images=True,
    ),
}

DATASETS: dict[str, DatasetFacts] = {
    "mnist": DatasetFacts(
        n_inputs=784,
        n_classes=10,
        n_train=50_000,
        n_validation=10_000,
        n_test=10_000,
        sha256="b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a",
        shape=(28, 28),
    ),
    "fashion-mnist": DatasetFacts(
        n_inputs=784,
        n_classes=10,
        n_train=50_000,
        n_validation=10_000,
        n_test=10_000,
        sha256="14410854cf7a289477dcfc7df3f8ec24741e281cdcc425ede0d9a748ca630214",
        shape=(28, 28),
    ),
    "kmnist": DatasetFacts(
        n_inputs=784,
        n_classes=10,
        n_train=50_000,
        n_validation=10_000,
        n_test=10_000,
        sha256="ec2c81993787d1d82722690a92775cc307d40f5cee11e0d26ba5e9d0a6b41df1",
        shape=(28, 28),
    ),
    "cifar10": DatasetFacts(
        n_inputs=3072,
        n_classes=10,
        n_train=45_000,
        n_validation=5_000,
        n_test=10_000,
        sha256="f7358627169f1877eecbb58c77ed05e8dd6e9f2ff600e2b010918bda47e7110e",
        shape=(32, 32),
        channels=3,
    ),
    "digits": DatasetFacts(
        n_inputs=64,
        n_classes=10,
        n_train=1_100,
        n_validation=300,
        n_test=397,
        sha256="87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826",
        shape=(8, 8),
    ),
    "breast-cancer": DatasetFacts(
        n_inputs=30,
        n_classes=2,
        n_train=365,
        n_validation=90,
        n_test=114,
        sha256="cdd5f37c36cbdfc2e5ee074cec7540fac54340874afb25917a673e446270d0d0",
    ),
    "wine": DatasetFacts(
        n_inputs=13,
        n_classes=3,
        n_train=100,
        n_validation=36,
        n_test=42,
        sha256="c7e84e8e03b2b5a354287416d84d08945318450658a22a63c39973d8306c2ca4",
    ),
    "diabetes": DatasetFacts(
        n_inputs=10,
        n_classes=0,
        n_train=270,
        n_validation=80,
        n_test=92,
        sha256="e9c1f7559552854a24dc45b41c446ce5f79f96e5da081bcce24b57492720b3f7",
    ),
}
