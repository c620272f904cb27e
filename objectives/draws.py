"""Dropout of models that train side by side: each draws from a generator of its own.

Alone, plain torch draws from its default generator, which is seeded by (trial seed, step); what is
drawn here is the same, site by site, on a CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# The functions, and of how many dimensions their input has to be; None: of any.
_DROPOUTS = {
    functional.dropout: None,
    functional.dropout1d: 3,
    functional.dropout2d: 4,
    functional.dropout3d: 5,
}
FindNoise = Callable[[torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True)
class Site:
    """A call of dropout in a model's forward pass: what is dropped from, without its values."""

    like: torch.Tensor
    rate: float

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """Return what the input is multiplied by: 0 at this rate, else 1 / (1 - rate)."""
        noise, kept = torch.empty_like(self.like), 1 - self.rate
        if kept in (0, 1):  # torch draws nothing then
            return noise.fill_(kept)
        return noise.bernoulli_(kept, generator=generator).div_(kept)


class Dropping(TorchFunctionMode):
    """Within it dropout multiplies by what ``find_noise(like, rate)`` returns.

    ``like`` has the shape of the noise: that of the input, or of its channels.
    """

    def __init__(self, find_noise: FindNoise) -> None:
        super().__init__()
        self._find_noise = find_noise

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do what torch would do, but for dropout (see ``torch.overrides``)."""
        del types
        if func not in _DROPOUTS:
            return func(*args, **(kwargs or {}))
        return self._drop(_DROPOUTS[func], *args, **(kwargs or {}))

    def _drop(
        self,
        n_dimensions: int | None,
        input: torch.Tensor,  # noqa: A002 (as torch calls it)
        p: float = 0.5,
        training: bool = True,  # noqa: FBT001, FBT002 (as torch has it)
        inplace: bool = False,  # noqa: ARG002, FBT001, FBT002
    ) -> torch.Tensor:
        if not training:
            return input
        if n_dimensions is None:
            return input * self._find_noise(input, p)
        if input.dim() != n_dimensions:
            raise NotImplementedError("dropout of channels without an axis of examples")
        channels = input.flatten(2)[..., :1].reshape(*input.shape[:2], *[1] * (n_dimensions - 2))
        return input * self._find_noise(channels, p)


def find_sites(forward: Callable[[], Any]) -> list[Site]:
    """Return where a model drops, in the order in which it does, by a forward pass that does not.

    Whatever that leaves in buffers is the caller's to mend.
    """
    found: list[Site] = []

    def note(like: torch.Tensor, rate: float) -> torch.Tensor:
        found.append(Site(torch.empty_like(like), rate))
        return torch.ones_like(like)

    with torch.no_grad(), Dropping(note):
        forward()
    return found


def draw_noise(sites: Sequence[Sequence[Site]], keys: Sequence[int]) -> list[torch.Tensor]:
    """Return the noise of models by site, ``(models, ...)`` each; ``keys`` seed what each draws.

    Raises ValueError where models differ in their number of sites.
    """
    by_model = []
    for own, key in zip(sites, keys, strict=True):
        generator = torch.Generator(own[0].like.device).manual_seed(key)
        by_model.append([site.draw(generator) for site in own])
    return [torch.stack(noises) for noises in zip(*by_model, strict=True)]


def dropping_by(noises: Sequence[torch.Tensor]) -> Dropping:
    """Return a context in which each dropout, in turn, multiplies by what was drawn for it."""
    left: Iterator[torch.Tensor] = iter(noises)
    return Dropping(lambda _like, _rate: next(left))
