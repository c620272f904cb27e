"""Texts of different lengths, padded batch by batch."""

import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from tuner import Problem


class BagOfTokens(nn.Module):
    """The mean of the tokens' embeddings decides; token 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16, padding_idx=0)
        self.output = nn.Linear(16, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens ``(batch, length)`` to logits ``(batch, 2)``."""
        n_tokens = (tokens > 0).sum(1, keepdim=True)
        return self.output(self.embedding(tokens).sum(1) / n_tokens)


def collate(examples: list[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad the texts of a batch to its longest."""
    texts = [torch.tensor(text) for text, _ in examples]
    return pad_sequence(texts, batch_first=True), torch.tensor([label for _, label in examples])


def problem() -> Problem:
    """Made-up texts: is there a token above 20 in it?"""
    draw = random.Random(0)
    texts = [[draw.randint(1, 29) for _ in range(draw.randint(1, 9))] for _ in range(600)]
    return Problem(
        BagOfTokens,
        [(text, int(max(text) > 20)) for text in texts],
        collate=collate,
        optimizer="adam",
    )
