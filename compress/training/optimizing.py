"""What of a model is trained, by which optimizer, and how its rates follow the schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from compress.errors import ModelError
from compress.models.layers import raw_weight, select
from compress.models.learned_grids import LearnedGrid
from compress.models.learned_steps import LearnedStepActivation
from compress.models.quantized import stored
from compress.training.phase import Phase
from compress.training.settings import Loop


def choose_trainable(model: nn.Module, settings: Loop, phases: Sequence[Phase] = ()) -> None:
    """Parameters of the layers that `trainable` names require a gradient; with '*' all of the model's do.

    None do that a phase holds, or that lie behind codes, which no gradient passes.
    """
    everything = settings.trainable == ("*",)
    for parameter in model.parameters():
        parameter.requires_grad_(everything and parameter.is_floating_point())
    if not everything:
        for layer in select(model, settings.trainable, embeddings=True).values():
            for parameter in layer.parameters():
                parameter.requires_grad_(parameter.is_floating_point())
    behind_codes = [raw_weight(module) for module in model.modules() if stored(module) is not None]
    for held in [*behind_codes, *(parameter for phase in phases for parameter in phase.held())]:
        if held is not None:
            held.requires_grad_(False)


def make_optimizer(student: nn.Module, settings: Loop) -> torch.optim.Optimizer:
    """The optimizer over all that requires a gradient; scales, and what has one axis or none, have no weight decay.

    Each of its groups keeps its highest rate as "initial_lr".

    Raises ModelError if nothing does.
    """
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not parameters:
        raise ModelError("nothing of the model is trained: 'trainable' leaves no weight")
    grids = [module for module in student.modules() if isinstance(module, LearnedGrid | LearnedStepActivation)]
    scales = {id(scale) for grid in grids for scale in grid.parameters()}
    decayed = [p for p in parameters if p.dim() > 1 and id(p) not in scales]
    others = [p for p in parameters if p.dim() <= 1 and id(p) not in scales]
    learned = [p for p in parameters if id(p) in scales]
    kinds = (
        (decayed, settings.learning_rate, settings.weight_decay),
        (others, settings.learning_rate, 0.0),
        (learned, settings.rate_of_scales, 0.0),
    )
    groups = [
        {"params": chosen, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for chosen, rate, decay in kinds
        if chosen
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups)
    momentum = settings.momentum
    return torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0)


def rate_at(settings: Loop, step: int, total: int) -> float:
    """The share of the highest learning rate that step `step` of `total` takes."""
    warmup = round(settings.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if settings.schedule == "constant":
        return 1.0
    return 1.0 - done if settings.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
