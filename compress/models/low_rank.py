"""A layer that a pass has made two thin ones: its place in the model, and how a snapshot gives it back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compress.models.layers import Weighted, raw_weight, weighted_layers
from compress.models.paging import paged_like

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


def give_ranks(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Factors of the right shapes wherever the saved parameters have two layers in the place of one."""
    for name, layer in weighted_layers(model).items():
        down = saved.get(f"{name}.0.weight")
        if isinstance(layer, Factorizable) and down is not None and f"{name}.weight" not in saved:
            pair = _empty(layer, len(down), f"{name}.1.bias" in saved)
            model.set_submodule(name, pair)


def whole_layers(model: nn.Module) -> dict[str, Weighted]:
    """The layers and embeddings by name, two factors as one layer: under the name of both, the second."""
    pairs = {name: module for name, module in model.named_modules() if isinstance(module, LowRank)}
    found: dict[str, Weighted] = {}
    for name, layer in weighted_layers(model, embeddings=True).items():
        parent = name.rpartition(".")[0]
        found[parent if parent in pairs else name] = layer
    return found


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
