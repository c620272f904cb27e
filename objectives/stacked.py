"""Train many models of any kind as one program: ``torch.func`` over stacked parameters.

For modules that ``torch.func.vmap`` takes. The first use imports ``torch._dynamo``, which takes
more than a second.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from objectives.facts import Params
from objectives.training import TensorSplit, accuracy

# Bounds the memory that the activations of all lanes take while images are scored.
_SCORING_BATCH_SIZE = 1_000

_Tensors = dict[str, torch.Tensor]


class StackedModels:
    """Trains equal models side by side (see ``objectives.lanes.Program``)."""

    n_together: int | None = None

    def __init__(self, train: TensorSplit, validation: TensorSplit, batch_size: int) -> None:
        self._train, self._validation, self._batch_size = train, validation, batch_size
        self.n_images = len(train.labels)

    @staticmethod
    def reason_against(model: nn.Module) -> str | None:  # noqa: ARG004 (only a trial run can tell)
        """Return None: every model may try."""
        return None

    def train(
        self,
        models: Sequence[nn.Module],
        params: Sequence[Params],
        order: torch.Tensor,
    ) -> list[tuple[float, float]]:
        """Train for an epoch in place; return mean loss and validation accuracy by model."""
        from torch.func import stack_module_state

        for each in models:
            each.train()  # they must be in one mode to be stacked
        stacked, buffers = stack_module_state(list(models))
        parameters = {name: stack.detach() for name, stack in stacked.items()}
        model = models[0]
        losses = self._train_epoch(model, (parameters, buffers), params, order)
        correct = self._count_correct(model, parameters, buffers)
        _store(models, {**parameters, **buffers})
        accuracies = [n / len(self._validation.labels) for n in correct.tolist()]
        return list(zip(losses.tolist(), accuracies, strict=True))

    def training_value(self, model: nn.Module) -> float:
        """Return the fraction of training images that a model classifies correctly."""
        return accuracy(model, self._train)

    def _train_epoch(
        self,
        model: nn.Module,
        state: tuple[_Tensors, _Tensors],
        params: Sequence[Params],
        order: torch.Tensor,
    ) -> torch.Tensor:
        """Train for an epoch and return the lanes' mean losses ``(lanes,)``."""
        from torch.func import functional_call, grad_and_value, vmap

        def mean_loss(
            parameters: _Tensors, buffers: _Tensors, images: torch.Tensor, labels: torch.Tensor
        ) -> torch.Tensor:
            logits = functional_call(model, (parameters, buffers), (images,))
            return functional.cross_entropy(logits, labels)

        parameters, buffers = state
        # By lane: each gradient is that of the lane's own loss, whatever the number of lanes.
        gradients_and_losses = vmap(grad_and_value(mean_loss), in_dims=(0, 0, None, None))
        decays = _by_lane([1 - each["lr"] * each["weight_decay"] for each in params], parameters)
        rates = _by_lane([-each["lr"] for each in params], parameters)
        total = torch.zeros(len(params), device=self._train.labels.device)
        for batch in torch.split(order.to(total.device), self._batch_size):
            images = self._train.scaled(self._train.images.index_select(0, batch))
            labels = self._train.labels.index_select(0, batch)
            gradients, losses = gradients_and_losses(parameters, buffers, images, labels)
            for name, parameter in parameters.items():
                parameter.mul_(decays[name]).addcmul_(gradients[name], rates[name])
            total = total + losses * len(batch)
        return total / len(order)

    @torch.no_grad()
    def _count_correct(
        self, model: nn.Module, parameters: _Tensors, buffers: _Tensors
    ) -> torch.Tensor:
        """Return how many validation images each lane classifies correctly, ``(lanes,)``."""
        from torch.func import functional_call, vmap

        def classify(parameters: _Tensors, buffers: _Tensors, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = functional_call(model, (parameters, buffers), (images,))
            return logits.argmax(dim=1)

        model.eval()
        classify_all = vmap(classify, in_dims=(0, 0, None))
        correct = torch.zeros((), dtype=torch.int64, device=self._validation.labels.device)
        for images, labels in zip(
            torch.split(self._validation.images, _SCORING_BATCH_SIZE),
            torch.split(self._validation.labels, _SCORING_BATCH_SIZE),
            strict=True,
        ):
            guesses = classify_all(parameters, buffers, self._validation.scaled(images))
            correct = correct + (guesses == labels).sum(1)
        return correct


def _by_lane(numbers: list[float], parameters: _Tensors) -> _Tensors:
    """Return the lanes' numbers in the shape that multiplies each stack of parameters by lane."""
    return {
        name: stack.new_tensor(numbers).view(-1, *[1] * (stack.dim() - 1))
        for name, stack in parameters.items()
    }


@torch.no_grad()
def _store(models: Sequence[nn.Module], stacks: _Tensors) -> None:
    """Copy every lane's parameters and buffers into its model."""
    for lane, model in enumerate(models):
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.copy_(stacks[name][lane])
