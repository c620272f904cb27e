"""Recurrent layers as loops of matrix products, since ``torch.vmap`` has no rule for torch's own.

The formulas, and the names of the parameters, are those of ``torch.nn.RNN``, ``LSTM``, ``GRU``.
"""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

M = TypeVar("M", bound=nn.Module)
# From x W_ih + b_ih of a step, (batch, gates * hidden), and the states: the next ones.
Step = Callable[[torch.Tensor, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]


def as_loops(module: M) -> M:
    """Return a module, or a copy in which recurrent layers are loops; parameters keep names."""
    if not any(type(each) in _LOOPS for each in module.modules()):
        return module
    copied = copy.deepcopy(module)
    for each in copied.modules():
        each.__class__ = _LOOPS.get(type(each), type(each))
    return copied


class _Loop(nn.RNNBase):
    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002
        """Return the outputs of the last layer, and the last states of all, as torch does."""
        if not isinstance(input, torch.Tensor) or input.dim() != 3:
            raise NotImplementedError("packed sequences, or one without an axis of examples")
        x = input.transpose(0, 1) if self.batch_first else input
        states = self._unpack(hx, x)
        n_directions = 2 if self.bidirectional else 1
        ends = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(n_directions):
                own = layer * n_directions + direction
                begin = tuple(state[own] for state in states)
                found, end = self._run(x, begin, layer, is_reverse=direction == 1)
                outputs.append(found)
                ends.append(end)
            x = torch.cat(outputs, dim=-1) if n_directions == 2 else outputs[0]
            if self.dropout > 0 and layer < self.num_layers - 1:
                x = functional.dropout(x, self.dropout, self.training)
        last = tuple(torch.stack(each) for each in zip(*ends, strict=True))
        return (x.transpose(0, 1) if self.batch_first else x), self._pack(last)

    def _run(
        self, x: torch.Tensor, states: tuple[torch.Tensor, ...], layer: int, *, is_reverse: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Run one layer in one direction over ``x``, ``(steps, batch, features)``."""
        suffix = f"_l{layer}{'_reverse' if is_reverse else ''}"

        def own(name: str) -> Any:
            return getattr(self, name + suffix, None)

        through = functional.linear(x, own("weight_ih"), own("bias_ih"))
        order = range(len(x) - 1, -1, -1) if is_reverse else range(len(x))
        outputs: list[Any] = [None] * len(x)
        for step in order:
            hidden = functional.linear(states[0], own("weight_hh"), own("bias_hh"))
            states = self._step(through[step], hidden, states)
            if self.proj_size:
                states = (functional.linear(states[0], own("weight_hr")), *states[1:])
            outputs[step] = states[0]
        return torch.stack(outputs), states

    def _unpack(self, hx: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the first states, ``(layers * directions, batch, size)`` each."""
        if hx is not None:
            return (hx,)
        n = self.num_layers * (2 if self.bidirectional else 1)
        return (x.new_zeros(n, x.shape[1], self.proj_size or self.hidden_size),)

    def _pack(self, states: tuple[torch.Tensor, ...]) -> Any:
        return states[0]

    def _step(
        self, through: torch.Tensor, hidden: torch.Tensor, states: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        raise NotImplementedError


class _LoopedRNN(_Loop, nn.RNN):
    def _step(self, through: Any, hidden: Any, states: Any) -> Any:  # noqa: ARG002
        total = through + hidden
        return (torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total),)


class _LoopedGRU(_Loop, nn.GRU):
    def _step(self, through: Any, hidden: Any, states: Any) -> Any:
        reset_x, update_x, new_x = through.chunk(3, dim=-1)
        reset_h, update_h, new_h = hidden.chunk(3, dim=-1)
        update = torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return (new + update * (states[0] - new),)


class _LoopedLSTM(_Loop, nn.LSTM):
    def _step(self, through: Any, hidden: Any, states: Any) -> Any:
        enter, forget, cell, leave = (through + hidden).chunk(4, dim=-1)
        kept = torch.sigmoid(forget) * states[1] + torch.sigmoid(enter) * torch.tanh(cell)
        return torch.sigmoid(leave) * torch.tanh(kept), kept

    def _unpack(self, hx: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if hx is not None:
            return tuple(hx)
        (hidden,) = super()._unpack(None, x)
        return hidden, x.new_zeros(len(hidden), x.shape[1], self.hidden_size)

    def _pack(self, states: tuple[torch.Tensor, ...]) -> Any:
        return states


_LOOPS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: _LoopedRNN,
    nn.GRU: _LoopedGRU,
    nn.LSTM: _LoopedLSTM,
}
