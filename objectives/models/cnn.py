"""A small convolutional network."""

import torch
from torch import nn

from objectives.catalog import DatasetFacts


class CNN(nn.Module):
    """Two convolutions with batch norm and pooling, and a linear layer.

    Batch norm makes the scale of the convolutions' weights free: there weight decay sets the
    learning rate (van Laarhoven, arXiv:1706.05350).
    """

    def __init__(self, data: DatasetFacts, channels: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        assert data.shape is not None
        height, width = data.shape
        self._shape = (data.channels, height, width)
        first, second = _block(data.channels, channels), _block(channels, 2 * channels)
        self.layers = nn.Sequential(*first, *second)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.output = nn.Linear(2 * channels * (height // 4) * (width // 4), data.n_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map images ``(batch, channels * height * width)`` to logits ``(batch, n_classes)``."""
        images = inputs.view(-1, *self._shape)
        logits: torch.Tensor = self.output(self.dropout(self.layers(images).flatten(1)))
        return logits


def _block(n_inputs: int, n_outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(n_inputs, n_outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(n_outputs), nn.ReLU(), nn.MaxPool2d(2)
