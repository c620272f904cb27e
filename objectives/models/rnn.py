"""A recurrent network that reads an image row by row."""

import torch
from torch import nn

from objectives.catalog import DatasetFacts

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class RowReader(nn.Module):
    """A GRU or LSTM over the rows, of all channels, and a linear layer on its last state."""

    def __init__(
        self, data: DatasetFacts, cell: str = "gru", width: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if cell not in _CELLS:
            raise ValueError(f"cell={cell!r}: choose {', '.join(_CELLS)}")
        assert data.shape is not None
        self._shape = (data.channels, *data.shape)
        self.rows = _CELLS[cell](data.channels * data.shape[1], width, batch_first=True)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.output = nn.Linear(width, data.n_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map images ``(batch, channels * height * width)`` to logits ``(batch, n_classes)``."""
        rows = inputs.view(-1, *self._shape).transpose(1, 2).flatten(2)
        states, _ = self.rows(rows)
        logits: torch.Tensor = self.output(self.dropout(states[:, -1]))
        return logits
