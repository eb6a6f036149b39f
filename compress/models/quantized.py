"""Quantization as data on a model: weights as parametrizations, activations as a table at the root.

The model keeps its class, its `state_dict` and its training loop.  The exporter, the budget and the table read what
lies here; none asks which pass wrote it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.errors import ModelError
from compress.models.calls import INPUT, Calls, input_of
from compress.models.dynamic import DynamicInput, dynamic_inputs
from compress.models.layers import Weighted, parametrizations, raw_weight, sharing
from compress.models.masks import mask_of
from compress.models.paging import paged_like
from compress.numerics.weight import QuantizedWeight


class StoredWeight(nn.Module):
    """Parametrization: the module's weight is what a QuantizedWeight says; the float original stays beside it."""

    codes: Tensor
    scales: Tensor
    zero_points: Tensor | None
    multipliers: Tensor | None
    float_bias: Tensor | None  # the layer's bias in the float model, where a pass has changed it

    def __init__(self, quantized: QuantizedWeight) -> None:
        super().__init__()
        self.num_bits, self.group_size = quantized.num_bits, quantized.group_size
        self.register_buffer("codes", quantized.codes)
        self.register_buffer("scales", quantized.scales)
        self.register_buffer("zero_points", quantized.zero_points)
        self.register_buffer("multipliers", quantized.multipliers)
        self.register_buffer("float_bias", None)
        self.enabled = True

    @property
    def quantized(self) -> QuantizedWeight:
        return QuantizedWeight(
            self.codes, self.scales, self.zero_points, self.multipliers, self.num_bits, self.group_size
        )

    def forward(self, original: Tensor) -> Tensor:
        return self.quantized.dequantize().to(original.dtype) if self.enabled else original


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


@dataclass(frozen=True)
class QuantizedActivation:
    """An affine uint8 (or fewer bits) grid of one tensor: x ≈ (q − zero_point) · scale, q in [0, 2^num_bits − 1]."""

    scale: float
    zero_point: int
    num_bits: int = 8

    @property
    def low(self) -> float:
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        return (self.limit - self.zero_point) * self.scale

    @property
    def limit(self) -> int:
        return (1 << self.num_bits) - 1

    def fake_quantize(self, x: Tensor) -> Tensor:
        """x rounded to the grid; the gradient passes straight through inside the range."""
        if torch.compiler.is_exporting():
            node: Tensor = torch.ops.compress.fake_quantize(x, self.scale, self.zero_point, self.limit)
            return node
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, self.limit)


class ActivationGrid(Protocol):
    """Anything that rounds a tensor to a grid: fixed, as above, or being learned."""

    def fake_quantize(self, x: Tensor) -> Tensor: ...


@torch.library.custom_op("compress::fake_quantize", mutates_args=())
def _fake_quantize(x: Tensor, scale: float, zero_point: int, limit: int) -> Tensor:
    """The node that the exporter writes as QuantizeLinear, DequantizeLinear."""
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, limit)


@_fake_quantize.register_fake
def _(x: Tensor, scale: float, zero_point: int, limit: int) -> Tensor:
    return torch.empty_like(x)


class FakeQuantizing(Calls):
    """Scope: the forwards of `model`, or of its submodule `start`, run with the tensors of `table` on their grids."""

    def __init__(self, model: nn.Module, table: Mapping[str, ActivationGrid], start: nn.Module | None = None) -> None:
        super().__init__(model, start)
        self.table = table

    def on_start(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if INPUT not in self.table:
            return inputs
        return (self.table[INPUT].fake_quantize(inputs[0]), *inputs[1:])

    def on_enter(self, module: str, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        grid = self.table.get(input_of(module))
        return None if grid is None else (grid.fake_quantize(inputs[0]), *inputs[1:])

    def on_call(self, key: str, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        grid = self.table.get(key)
        return result if grid is None else grid.fake_quantize(result)


class ActivationQuantizer:
    """Forward hooks at the root: each forward runs with the tensors of `table` on their grids.

    While a model is trained (`stand`) its class's `forward` does it, in one scope for all forwards: each is then one
    frame, which torch.compile can trace whole.
    """

    def __init__(self, table: Mapping[str, ActivationGrid]) -> None:
        self.table = dict(table)
        self.enabled = True
        self.scope: FakeQuantizing | None = None
        self.running: list[FakeQuantizing] = []
        self.handles: list[Any] = []

    def attach(self, model: nn.Module) -> None:
        self.handles = [
            model.register_forward_pre_hook(self._start, with_kwargs=True),
            model.register_forward_hook(self._end, always_call=True),
        ]

    def _start(
        self, model: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not self.enabled:
            return None
        inputs, keywords = self.arguments(model, inputs, keywords)
        scope = FakeQuantizing(model, self.table)
        scope.__enter__()
        self.running.append(scope)
        return scope._push(model, inputs) or inputs, keywords  # the scope's own hook came too late for the root itself

    def _end(self, model: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self.running:
            self.running.pop().__exit__(None, None, None)

    def arguments(
        self, model: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same, the first one by its position, where it is what gets a grid."""
        if inputs or INPUT not in self.table:
            return inputs, keywords
        first = next(iter(inspect.signature(model.forward).parameters))
        return (keywords[first],), {key: value for key, value in keywords.items() if key != first}

    def stand(self, model: nn.Module) -> None:
        """Begin a training."""
        for handle in self.handles:
            handle.remove()
        self.scope = FakeQuantizing(model, self.table)
        self.handles = self.scope.stand()
        model.__class__ = _quantizing(type(model))

    def settle(self, model: nn.Module) -> None:
        """End what `stand` began."""
        for handle in self.handles:
            handle.remove()
        self.scope = None
        model.__class__ = type(model).__mro__[1]
        self.attach(model)


def _quantizing(cls: type[nn.Module]) -> type[nn.Module]:
    """A class of the same name whose forwards run in the quantizer's scope."""

    @functools.wraps(cls.forward)
    def forward(model: nn.Module, *inputs: Any, **keywords: Any) -> Any:
        quantizer = _quantizer(model)
        if quantizer is None or quantizer.scope is None or not quantizer.enabled:
            return cls.forward(model, *inputs, **keywords)
        inputs, keywords = quantizer.arguments(model, inputs, keywords)
        scope = quantizer.scope
        scope.__enter__()  # by name: of a `with`, torch.compile takes the mode alone, not what else entering does
        try:
            return cls.forward(model, *(scope._push(model, inputs) or inputs), **keywords)
        finally:
            scope.__exit__(None, None, None)

    return type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__, "__doc__": cls.__doc__})


def set_activations(model: nn.Module, table: Mapping[str, ActivationGrid]) -> None:
    """Quantize these calls' results (keys of `compress.models.calls`) in every forward, in place of any before.

    Grids that are being learned may stand there while a model is trained.
    """
    existing = _quantizer(model)
    if existing is not None:
        existing.table = dict(table)
        if existing.scope is not None:
            existing.scope.table = existing.table
        return
    if not table:
        return
    quantizer = ActivationQuantizer(table)
    quantizer.attach(model)
    model.activation_quantizer = quantizer  # type: ignore[assignment]


def keep_quantizing(model: nn.Module, standing: bool) -> None:
    """Begin or end a training: what quantizes activations stays on the modules, or comes and goes with each forward."""
    quantizer = _quantizer(model)
    assert quantizer is not None
    if standing:
        quantizer.stand(model)
    else:
        quantizer.settle(model)


def quantized_activations(model: nn.Module) -> dict[str, QuantizedActivation]:
    """The table that `set_activations` wrote, or an empty one; but for grids that are still being learned."""
    quantizer = _quantizer(model)
    table = {} if quantizer is None else quantizer.table
    return {key: grid for key, grid in table.items() if isinstance(grid, QuantizedActivation)}


def active_activations(model: nn.Module) -> dict[str, QuantizedActivation]:
    """The table that forwards use now: empty inside `as_float`."""
    quantizer = _quantizer(model)
    return quantized_activations(model) if quantizer is not None and quantizer.enabled else {}


@contextmanager
def as_float(model: nn.Module, weights: bool = True, activations: bool = True) -> Iterator[nn.Module]:
    """Scope: the model computes as the float model it was, before quantization."""
    found = {module: stored(module) for module in model.modules()} if weights else {}
    # what an outer scope has made float stays so when this one ends
    parts = {module: part for module, part in found.items() if part is not None and part.enabled}
    quantizer = _quantizer(model) if activations else None
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


def _quantizer(model: nn.Module) -> ActivationQuantizer | None:
    return getattr(model, "activation_quantizer", None)
