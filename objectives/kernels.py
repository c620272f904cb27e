"""Torch's kernels of update rules, which pass over memory once: for one model's row at a time.

They are what ``torch.optim`` calls with ``fused=True``, on CPUs. Each takes one rate a call.
"""

import torch

EPSILON = 1e-8  # Adam's, torch's default


def step_sgd(
    parts: tuple[torch.Tensor, ...], *, lr: float, decay: float, momentum: float, nesterov: bool
) -> None:
    """Take a step of SGD in place; parts are a row ``(n,)``, its gradient and momentum."""
    row, gradient, buffer = parts
    torch._fused_sgd_(
        [row],
        [gradient],
        [buffer] if momentum else [],
        weight_decay=decay,
        momentum=momentum,
        lr=lr,
        dampening=0.0,
        nesterov=nesterov,
        maximize=False,
        is_first_step=False,
    )


def step_adam(  # noqa: PLR0913 (as torch has them)
    parts: tuple[torch.Tensor, ...],
    step: int,
    *,
    lr: float,
    decay: float,
    betas: tuple[float, float],
    is_coupled: bool,
) -> None:
    """Take step number ``step``, from 0, of Adam or AdamW in place.

    Parts are a row ``(n,)``, its gradient, and the means of that and of its square.
    """
    kernel = torch._fused_adam_ if is_coupled else torch._fused_adamw_
    row, gradient, mean, square = parts
    kernel(
        [row],
        [gradient],
        [mean],
        [square],
        [],
        [torch.tensor(step + 1.0)],
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=decay,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )
