"""A small Transformer over the patches of an image."""

import torch
from torch import nn

from objectives.catalog import DatasetFacts

# Patches along each side: 16 in all.
_SIDE = 4


class PatchReader(nn.Module):
    """Patches attend to each other; their mean decides (Dosovitskiy et al., arXiv:2010.11929)."""

    def __init__(
        self,
        data: DatasetFacts,
        width: int = 32,
        depth: int = 1,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        assert data.shape is not None
        height, length = data.shape
        self._shape = (data.channels, height, length)
        self._patch = (height // _SIDE, length // _SIDE)
        self.embed = nn.Linear(data.channels * self._patch[0] * self._patch[1], width)
        self.place = nn.Parameter(torch.zeros(_SIDE * _SIDE, width))
        blocks = [
            nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, batch_first=True)
            for _ in range(depth)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(width, data.n_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map images ``(batch, channels * height * width)`` to logits ``(batch, n_classes)``."""
        height, width = self._patch
        images = inputs.view(-1, *self._shape)
        patches = images.unfold(2, height, height).unfold(3, width, width)
        by_place = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        tokens = self.embed(by_place) + self.place
        logits: torch.Tensor = self.output(self.blocks(tokens).mean(1))
        return logits
