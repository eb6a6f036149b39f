"""Quantized weights as data on a model: parametrizations; and the float model again, activations included.

The model keeps its class, its `state_dict` and its training loop.  The exporter, the budget and the table read what
lies here; none asks which pass wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.errors import ModelError
from compress.models.activations import ActivationQuantizer, quantized_activations, quantizer_of
from compress.models.dynamic import DynamicInput, dynamic_inputs
from compress.models.layers import Weighted, parametrizations, raw_weight, sharing
from compress.models.masks import mask_of
from compress.models.paging import paged_like
from compress.numerics.weight import PARTS, QuantizedWeight, put_together, taken_apart


class StoredWeight(nn.Module):
    """Parametrization: the module's weight is what a QuantizedWeight says; the float original stays beside it."""

    codes: Tensor
    scales: Tensor
    zero_points: Tensor | None
    multipliers: Tensor | None
    float_bias: Tensor | None  # the layer's bias in the float model, where a pass has changed it
    decoded: Tensor | None  # the weight as float, while nothing changes it (`decoded_once`)

    def __init__(self, quantized: QuantizedWeight) -> None:
        super().__init__()
        self.num_bits, self.group_size = quantized.num_bits, quantized.group_size
        self.packing, self.midrise = quantized.packing, quantized.midrise
        self.register_buffer("codes", quantized.codes)
        self.register_buffer("scales", quantized.scales)
        self.register_buffer("zero_points", quantized.zero_points)
        self.register_buffer("multipliers", quantized.multipliers)
        self.register_buffer("float_bias", None)
        self.register_buffer("decoded", None, persistent=False)
        self.enabled = True

    @property
    def quantized(self) -> QuantizedWeight:
        return QuantizedWeight(
            self.codes,
            self.scales,
            self.zero_points,
            self.multipliers,
            self.num_bits,
            self.group_size,
            self.packing,
            self.midrise,
        )

    def forward(self, original: Tensor) -> Tensor:
        if not self.enabled:
            return original
        weight = self.quantized.dequantize() if self.decoded is None else self.decoded
        return weight.to(original.dtype)


def stored(module: nn.Module) -> StoredWeight | None:
    """The module's StoredWeight, or None for a float weight."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    return next((part for part in parametrizations(module) if isinstance(part, StoredWeight)), None)


def set_weight(module: nn.Module, quantized: QuantizedWeight, model: nn.Module | None = None) -> None:
    """Give `module.weight` these codes, in place of any it had; a mask of what is pruned stays below them.

    model  where the weight may be tied: all its modules that hold the same parameter (an embedding and its head) get
           the same StoredWeight, one object.
    """
    weight = raw_weight(module)
    assert weight is not None
    part = StoredWeight(replace(quantized, codes=paged_like(quantized.codes, weight)))
    for each in [module] if model is None else sharing(model, module):
        before = stored(each)
        if before is None:
            parametrize.register_parametrization(each, "weight", part, unsafe=True)
        else:
            part.float_bias = before.float_bias
            chain = parametrizations(each)
            chain[list(chain).index(before)] = part


@contextmanager
def decoded_once(model: nn.Module) -> Iterator[None]:
    """Scope in which no quantized weight of the model changes: each is decoded now, not whenever it is used."""
    parts = {part for module in model.modules() if (part := stored(module)) is not None}
    for part in parts:
        part.decoded = part.quantized.dequantize()
    try:
        yield
    finally:
        for part in parts:
            part.decoded = None


def as_values(name: str, part: StoredWeight) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a file keeps of a quantized weight: tensors, each by its part's name and `name`, and plain data."""
    tensors, plain = taken_apart(part.quantized)
    values = {f"{key}/{name}": value for key, value in tensors.items()}
    return values if part.float_bias is None else {**values, f"float_bias/{name}": part.float_bias}, plain


def give_values(
    module: nn.Module, name: str, values: Mapping[str, Tensor], plain: Mapping[str, Any], model: nn.Module
) -> None:
    """Give `module.weight` what a file kept under `name`."""
    tensors = {part: values[f"{part}/{name}"] for part in PARTS if f"{part}/{name}" in values}
    set_weight(module, put_together(tensors, plain), model)
    part = stored(module)
    assert part is not None
    part.float_bias = values.get(f"float_bias/{name}")


def keep_float_bias(layer: Weighted) -> None:
    """To be called before a pass changes the bias of a quantized layer, so that `as_float` still has the first one."""
    part = stored(layer)
    if isinstance(layer, nn.Embedding):
        return
    if part is not None and part.float_bias is None:
        zeros = layer.weight.new_zeros(layer.weight.shape[0])
        part.float_bias = zeros if layer.bias is None else layer.bias.detach().clone()


def _exchange_biases(parts: Mapping[nn.Module, StoredWeight]) -> None:
    """The modules' own biases for those of the float model, or back."""
    for module, part in parts.items():
        bias = getattr(module, "bias", None)
        if part.float_bias is not None and isinstance(bias, Tensor):
            own = bias.detach().clone()
            bias.data.copy_(part.float_bias)
            part.float_bias.copy_(own)


def original_weight(module: nn.Module) -> Tensor:
    """The float weight, quantized or not: of a pruned layer, zero where it is pruned."""
    weight = raw_weight(module)
    assert weight is not None
    mask = mask_of(module)
    return weight if mask is None else torch.where(mask, weight, 0.0)


def quantized_weights(model: nn.Module) -> dict[str, QuantizedWeight]:
    """Every quantized weight by the name of its parameter in the float model, such as `conv_stem.weight`.

    A weight that several modules share is there once, under its first name, as in `named_parameters`.
    """
    found: dict[StoredWeight, str] = {}
    for name, module in model.named_modules():
        part = stored(module)
        if part is not None:
            found.setdefault(part, f"{name}.weight")
    return {name: part.quantized for part, name in found.items()}


def refuse_quantized(model: nn.Module, who: str) -> None:
    """Raise ModelError, for the pass `who` that cuts weights, if one of them is quantized, or the activations are."""
    for name in quantized_weights(model):
        told = f"the weight of {name.removesuffix('.weight')} is quantized already: put it before the quantize passes"
        raise ModelError(f"{who}: {told}")
    if quantized_activations(model):
        raise ModelError(f"{who}: activations are quantized already: put it before the quantize passes")


@contextmanager
def as_float(model: nn.Module, weights: bool = True, activations: bool = True) -> Iterator[nn.Module]:
    """Scope: the model computes as the float model it was, before quantization."""
    found = {module: stored(module) for module in model.modules()} if weights else {}
    # what an outer scope has made float stays so when this one ends
    parts = {module: part for module, part in found.items() if part is not None and part.enabled}
    quantizer = quantizer_of(model) if activations else None
    scopes: list[StoredWeight | ActivationQuantizer | DynamicInput] = list(parts.values())
    if quantizer is not None and quantizer.enabled:
        scopes.append(quantizer)
    if activations:
        scopes += [hook for hook in dynamic_inputs(model) if hook.enabled]
    for scope in scopes:
        scope.enabled = False
    _exchange_biases(parts)
    try:
        yield model
    finally:
        for scope in scopes:
            scope.enabled = True
        _exchange_biases(parts)
