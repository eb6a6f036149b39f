"""Dynamic quantization of activations: layers whose inputs are put on an 8-bit grid of their own, token by token.

`model.dynamic_layers` names them; hooks of the layers do it in every forward, so that a block that runs alone does it
too.  The names are what a snapshot keeps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

LIMIT = 255


def quantize_tokens(x: Tensor) -> Tensor:
    """x [..., K] with every vector on its own uint8 grid: scale (max − min) / 255, range with zero in it.

    The grid is that of ONNX's DynamicQuantizeLinear.  The gradient passes straight through.
    """
    high, low = x.detach().amax(-1, keepdim=True).clamp_min(0), x.detach().amin(-1, keepdim=True).clamp_max(0)
    scale = (high - low) / LIMIT
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = (-low / scale).round().clamp(0, LIMIT)
    rounded = ((x.detach() / scale + zero).round().clamp(0, LIMIT) - zero) * scale
    return x + (rounded - x.detach())


class DynamicInput:
    """A layer's hook: its input, token by token, on 8 bits."""

    def __init__(self) -> None:
        self.enabled = True

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self.enabled:
            return None
        x = inputs[0]
        exporting = torch.compiler.is_exporting()
        return (torch.ops.compress.quantize_tokens(x) if exporting else quantize_tokens(x), *inputs[1:])


@torch.library.custom_op("compress::quantize_tokens", mutates_args=())
def _quantize_tokens(x: Tensor) -> Tensor:
    """The node that an exporter writes as a dynamic quantization."""
    return quantize_tokens(x)


@_quantize_tokens.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def dynamic_layers(model: nn.Module) -> set[str]:
    """The names that `add_dynamic_layers` was given, or none."""
    return set(getattr(model, "dynamic_layers", ()))


def add_dynamic_layers(model: nn.Module, names: Iterable[str]) -> None:
    """Quantize the inputs of these linear layers in every forward, beside those that were before."""
    before = dynamic_layers(model)
    for name in sorted(set(names) - before):
        model.get_submodule(name).register_forward_pre_hook(DynamicInput())
    model.dynamic_layers = before | set(names)  # type: ignore[assignment]


def dynamic_inputs(model: nn.Module) -> list[DynamicInput]:
    """The hooks of the dynamic layers."""
    hooks = [hook for name in dynamic_layers(model) for hook in model.get_submodule(name)._forward_pre_hooks.values()]
    return [hook for hook in hooks if isinstance(hook, DynamicInput)]
