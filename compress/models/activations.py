"""Activations on grids, as data on a model: a table at its root, by the keys of calls (`compress.models.calls`).

The model keeps its class, its `state_dict` and its training loop.  The exporter, the budget and the table read what
lies here; none asks which pass wrote it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from compress.models.calls import INPUT, Calls, input_of


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
        quantizer = quantizer_of(model)
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
    existing = quantizer_of(model)
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
    quantizer = quantizer_of(model)
    assert quantizer is not None
    if standing:
        quantizer.stand(model)
    else:
        quantizer.settle(model)


def quantized_activations(model: nn.Module) -> dict[str, QuantizedActivation]:
    """The table that `set_activations` wrote, or an empty one; but for grids that are still being learned."""
    quantizer = quantizer_of(model)
    table = {} if quantizer is None else quantizer.table
    return {key: grid for key, grid in table.items() if isinstance(grid, QuantizedActivation)}


def active_activations(model: nn.Module) -> dict[str, QuantizedActivation]:
    """The table that forwards use now: empty inside `as_float`."""
    quantizer = quantizer_of(model)
    return quantized_activations(model) if quantizer is not None and quantizer.enabled else {}


def quantizer_of(model: nn.Module) -> ActivationQuantizer | None:
    return getattr(model, "activation_quantizer", None)
