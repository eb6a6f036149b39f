"""Weights that are NaN or infinite are refused before any work is done on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.errors import ModelError


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite; without a copy of the values, as torch.isfinite makes."""
    return values.numel() == 0 or all(bool(end.isfinite()) for end in torch.aminmax(values.detach()))


def refuse_infinite(who: str, name: str, layer: nn.Module) -> None:
    """Raise ModelError, for the pass `who`, for a layer whose weight is not finite."""
    assert isinstance(layer.weight, Tensor)
    if not all_finite(layer.weight):
        raise ModelError(f"{who}: the weight of {name} is not finite")


def check_finite(model: nn.Module, where: str) -> None:
    """Raise ModelError, naming the first such tensor, if a weight or buffer is NaN or infinite."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not all_finite(tensor):
            bad = int((~torch.isfinite(tensor)).sum())
            raise ModelError(f"{where}: {bad} of the {tensor.numel()} values of '{name}' are NaN or infinite")
