"""Multiply–accumulates of a torch model: those of its convolutions and linear layers, for one sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.models.calls import forward
from compress.models.hooks import removing
from compress.models.layers import raw_weight, weighted_layers


def positions(model: nn.Module, example: Sequence[Tensor]) -> dict[str, int]:
    """How often each row of a layer's weight is applied for one sample: pixels of a convolution's output, tokens."""
    layers = weighted_layers(model)
    found: Counter[str] = Counter()

    def observe(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            channels = output.shape[-1] if isinstance(module, nn.Linear) else output.shape[1]
            found[name] += output.numel() // (channels * len(example[0]))

        return hook

    with removing(layer.register_forward_hook(observe(name)) for name, layer in layers.items()), torch.no_grad():
        forward(model, *example)
    return {name: found[name] for name in layers}


def macs(model: nn.Module, applied: Mapping[str, int]) -> int:
    """Σ positions · weights of a layer, over all layers.  applied: what `positions` counted."""
    layers = weighted_layers(model)
    sizes = {name: weight.numel() for name, layer in layers.items() if (weight := raw_weight(layer)) is not None}
    return sum(applied.get(name, 0) * size for name, size in sizes.items())
