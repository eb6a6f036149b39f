"""Layers that a pass has put thin ones in the place of, or beside: their place in the model, how they are selected as
the layers that they were, and how a snapshot gives them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.layers import Weighted, matching, raw_weight, unmatched, weighted_layers
from compress.models.paging import paged_like
from compress.models.selectors import selector_problems

Factorizable = nn.Linear | nn.Conv2d


class LowRank(nn.Sequential):
    """down, then up: in the place of the layer whose weight was about up · down; the bias is the second's.

    Both are layers as any other, `NAME.0` and `NAME.1`: they are selected, calibrated, quantized and written so.
    """

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Outputs, inputs and rank."""
        down, up = (raw_weight(layer) for layer in self)
        assert down is not None
        assert up is not None
        return len(up), down.shape[1], len(down)

    weight = None  # transformers asks some layers (T5's) for the dtype of theirs: there is none


class Branched(nn.Module):
    """residual(x · inverse_scale) + branch(x): in the place of the layer whose weight was about
    residual.weight · inverse_scale + up · down.

    residual       the layer itself, with what the branch leaves of its weight, and its bias.
    branch         its factors, whose numbers float16 holds.
    inverse_scale  of each input channel, [in], or [in, 1, 1] of a convolution; None: 1.

    The three layers are selected, calibrated, quantized and written as any other: `NAME.residual`, `NAME.branch.0` and
    `NAME.branch.1`.
    """

    inverse_scale: Tensor | None
    weight = None  # see LowRank

    def __init__(self, residual: Factorizable, branch: LowRank, inverse_scale: Tensor | None) -> None:
        super().__init__()
        self.residual, self.branch = residual, branch
        self.register_buffer("inverse_scale", inverse_scale)

    def forward(self, x: Tensor) -> Tensor:
        scaled = x if self.inverse_scale is None else x * self.inverse_scale
        out: Tensor = self.residual(scaled) + self.branch(x)
        return out


def can_be_factorized(layer: nn.Module) -> bool:
    """Whether a layer is one matrix: a linear layer, or a 1×1 convolution of one group."""
    if isinstance(layer, nn.Conv2d):
        return set(layer.kernel_size) == {1} and layer.groups == 1
    return isinstance(layer, nn.Linear)


def factorize(model: nn.Module, name: str, down: Tensor, up: Tensor) -> LowRank:
    """Put the factors down [rank, in] and up [out, rank] in the place of the layer `name`, and return them."""
    layer = model.get_submodule(name)
    assert isinstance(layer, Factorizable)
    pair = _empty(layer, len(down), layer.bias is not None)
    for part, values in zip(pair, (down, up), strict=True):
        weight = part.weight
        assert isinstance(weight, nn.Parameter)
        weight.data = paged_like(values.to(layer.weight.dtype).reshape(weight.shape).contiguous(), layer.weight)
        weight.requires_grad_(layer.weight.requires_grad)
    if layer.bias is not None:
        pair[1].bias = layer.bias
    model.set_submodule(name, pair)
    return pair


def split(model: nn.Module, name: str, down: Tensor, up: Tensor, scale: Tensor | None) -> Branched:
    """Put beside the layer `name` the branch up [out, rank] · down [rank, in] of its weight, and leave the layer what
    the branch, as float16 holds it, does not give.

    scale  of each input channel [in], which the weight is multiplied with and the inputs are divided by; the branch is
           of the scaled weight.

    The function stays as it is, but for float32's rounding.
    """
    module = branched(model, name, len(down), scaled=scale is not None)
    layer = module.residual
    with torch.no_grad():
        if scale is not None:
            assert module.inverse_scale is not None
            module.inverse_scale.copy_((1 / scale).reshape(module.inverse_scale.shape))
            over = module.inverse_scale.flatten()
            down = down * over
        for part, values in zip(module.branch, (down, up), strict=True):
            weight = part.weight
            assert isinstance(weight, nn.Parameter)
            weight.copy_(values.half().float().reshape(weight.shape))
        matrix = layer.weight.reshape(len(up), -1)
        first, second = (part.weight.flatten(1) for part in module.branch if isinstance(part, Factorizable))
        left = matrix - second @ first
        layer.weight.copy_((left if scale is None else left / over).reshape(layer.weight.shape))
    return module


def branched(model: nn.Module, name: str, rank: int, *, scaled: bool) -> Branched:
    """Put a branch of that rank, without values, beside the layer `name`."""
    layer = model.get_submodule(name)
    assert isinstance(layer, Factorizable)
    branch = _empty(layer, rank, bias=False)
    for part in branch:
        part.requires_grad_(layer.weight.requires_grad)
    inputs = layer.weight.shape[1]
    shape = (inputs, 1, 1) if isinstance(layer, nn.Conv2d) else (inputs,)
    module = Branched(layer, branch, layer.weight.new_ones(shape) if scaled else None).train(layer.training)
    model.set_submodule(name, module)
    return module


def halves(model: nn.Module) -> list[str]:
    """The float weights whose numbers float16 holds, by the names of their parameters: of branches, as long as no pass
    has quantized, pruned or trained them."""
    found = {
        f"{name}.branch.{number}.weight": part
        for name, module in model.named_modules()
        if isinstance(module, Branched)
        for number, part in enumerate(module.branch)
    }
    return [name for name, part in found.items() if _is_half(part)]


def _is_half(layer: nn.Module) -> bool:
    weight = raw_weight(layer)
    plain = weight is not None and not hasattr(layer, "parametrizations")
    return plain and weight is not None and torch.equal(weight, weight.half().to(weight.dtype))


def give_ranks(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Factors of the right shapes wherever the saved parameters have two layers in the place of one."""
    for name, layer in weighted_layers(model).items():
        down = saved.get(f"{name}.0.weight")
        if isinstance(layer, Factorizable) and down is not None and f"{name}.weight" not in saved:
            pair = _empty(layer, len(down), f"{name}.1.bias" in saved)
            model.set_submodule(name, pair)


def whole_layers(model: nn.Module) -> dict[str, Weighted]:
    """The layers and embeddings by name, those of a LowRank or a Branched as one layer, under the name of it: of two
    factors the second, of a branch and what it leaves the latter."""
    found: dict[str, Weighted] = {}
    for name, layer in weighted_layers(model, embeddings=True).items():
        whole = whole_name(model, name)
        if not isinstance(model.get_submodule(whole), Branched) or name == f"{whole}.residual":
            found[whole] = layer
    return found


def whole_name(model: nn.Module, name: str) -> str:
    """The name of the LowRank or Branched that a layer is part of, the outermost; its own where there is none."""
    parents = name.split(".")
    above = (".".join(parents[:depth]) for depth in range(1, len(parents)))
    return next((parent for parent in above if isinstance(model.get_submodule(parent), LowRank | Branched)), name)


def select_whole(model: nn.Module, targets: Sequence[str], ignore: Sequence[str]) -> dict[str, Weighted]:
    """Those of `whole_layers` that `targets` name and `ignore` does not.  Raises ModelError for a selector that is
    wrong or matches nothing."""
    layers = whole_layers(model)
    wrong = selector_problems((*targets, *ignore)) or unmatched(layers, (*targets, *ignore))
    if wrong:
        raise ModelError("\n".join(wrong))
    meant = {name for selector in targets for name in matching(layers, selector)}
    meant -= {name for selector in ignore for name in matching(layers, selector)}
    return {name: layer for name, layer in layers.items() if name in meant}


def _empty(layer: Factorizable, rank: int, bias: bool) -> LowRank:
    with torch.device("meta"):
        if isinstance(layer, nn.Conv2d):
            stride, padding = (layer.stride[0], layer.stride[1]), layer.padding
            border = padding if isinstance(padding, str) else (padding[0], padding[1])
            mode = layer.padding_mode
            first: Factorizable = nn.Conv2d(layer.in_channels, rank, 1, stride, border, bias=False, padding_mode=mode)
            second: Factorizable = nn.Conv2d(rank, layer.out_channels, 1, bias=bias)
        else:
            first, second = nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features, bias)
    pair = LowRank(first, second).to_empty(device=layer.weight.device).to(layer.weight.dtype)
    return pair.train(layer.training)
