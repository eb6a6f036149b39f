"""A linear layer in the kernel that fits its weight, and an embedding in the one that shares it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch

from compress.exporter.decoder import Decoder, has_int8_form
from compress.exporter.text.builder import FLOAT, MICROSOFT, Builder
from compress.exporter.text.packed import Packed, pack_weight, stacked, unpacked_zeros
from compress.models.low_rank import Branched, LowRank, halves
from compress.models.quantized import stored
from compress.numerics.weight import odd

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from compress.numerics.weight import QuantizedWeight

# The only level at which every width is fast: activations are rounded to int8, a scale a block.
ACCURACY_LEVEL = 4


class Layers:
    """Writes the linear layers and embeddings of a model into a graph.

    dynamic  names of the linear layers whose activations are quantized to uint8 as they come (W8A8).
    """

    def __init__(self, builder: Builder, model: nn.Module) -> None:
        self.builder, self.model = builder, model
        self.names = {module: name for name, module in model.named_modules()}
        self.halves = frozenset(halves(model))
        self.dynamic = frozenset(getattr(model, "dynamic_layers", ()))

    def inside(self, branch: Builder) -> Layers:
        """The same layers for a graph inside a node of this one."""
        return Layers(branch, self.model)

    def linear(self, module: nn.Module, x: ir.Value) -> ir.Value:
        """x [..., in] → [..., out]."""
        return self.linears([module], x)[0]

    def linears(self, modules: Sequence[nn.Module], x: ir.Value) -> tuple[ir.Value, ...]:
        """Layers that read the same x: one product, where their weights are of one kind; an output for each."""
        if any(isinstance(module, Branched) for module in modules):
            return tuple(value for module in modules for value in self._branched(module, x))
        if any(isinstance(module, LowRank) for module in modules):
            firsts = [module[0] if isinstance(module, LowRank) else module for module in modules]
            found = zip(modules, self.linears(firsts, x), strict=True)
            return tuple(self.linear(m[1], value) if isinstance(m, LowRank) else value for m, value in found)
        sizes = [num_rows(module) for module in modules]
        joined = self._joined(modules, x)
        if joined is not None:
            return self.builder.split(joined, sizes)
        return tuple(self.linears([module], x)[0] for module in modules)

    def _branched(self, module: nn.Module, x: ir.Value) -> tuple[ir.Value, ...]:
        if not isinstance(module, Branched):
            return self.linears([module], x)
        scaled = x
        if module.inverse_scale is not None:
            scale = self.builder.initializer(_float(module.inverse_scale), f"{self.names[module]}.inverse_scale")
            scaled = self.builder.op("Mul", x, scale)
        return (self.builder.op("Add", self.linear(module.residual, scaled), self.linear(module.branch, x)),)

    def embedding(self, module: nn.Module, ids: ir.Value) -> ir.Value:
        """ids [batch, sequence] → float32 [batch, sequence, width]; not scaled."""
        name, quantized, builder = f"{self.names[module]}.weight", _quantized(module), self.builder
        packed = None if quantized is None else pack_weight(builder, name, quantized, whole=True)
        if packed is None:
            table = builder.initializer(_float(_weight(module)), name) if quantized is None else None
            if table is None:
                table = Decoder(builder, None, name, quantized).float32()  # type: ignore[arg-type]
            return builder.op("Gather", table, ids, axis=0)
        scales = builder.once("Reshape", packed.scales, builder.integers(packed.rows, packed.blocks, 1))
        rows = builder.op(
            "GatherBlockQuantized",
            packed.codes,
            ids,
            scales,
            unpacked_zeros(builder, packed),
            domain=MICROSOFT,
            bits=packed.bits,
            block_size=packed.block,
            gather_axis=0,
            quantize_axis=2,
        )
        rows = builder.reshape(rows, 0, 0, packed.blocks * packed.block)
        if packed.blocks * packed.block == packed.columns:
            return rows
        return builder.slice(rows, 2, builder.integers(0), builder.integers(packed.columns))

    def _joined(self, modules: Sequence[nn.Module], x: ir.Value) -> ir.Value | None:
        """One product for all the layers, or None if their weights cannot be joined."""
        names = [self.names[module] for module in modules]
        weights = [_quantized(module) for module in modules]
        bias = _bias(modules)
        name = f"{'+'.join(names)}.weight" if len(names) == 1 else _common(names)
        if all(weight is None for weight in weights):
            if self.dynamic.intersection(names):
                return None if len(names) > 1 else self._float(x, modules, name, bias)
            return self._float(x, modules, name, bias)
        known = [weight for weight in weights if weight is not None]
        quantized = stacked(known) if len(known) == len(weights) > 1 else known[0] if len(weights) == 1 else None
        if quantized is None or len({name in self.dynamic for name in names}) > 1:
            return None
        if names[0] in self.dynamic and has_int8_form(quantized):
            return self._dynamic(x, quantized, name, bias)
        packed = pack_weight(self.builder, name, quantized)
        if packed is None:
            weight = Decoder(self.builder, None, name, quantized).float32()  # type: ignore[arg-type]
            return self._product(x, weight, name, bias)
        return self._blockwise(x, packed, name, bias)

    def _blockwise(self, x: ir.Value, packed: Packed, name: str, bias: NDArray[Any] | None) -> ir.Value:
        value = self.builder.op(
            "MatMulNBits",
            x,
            packed.codes,
            packed.scales,
            packed.zeros,
            None,
            self._bias(bias, name),
            domain=MICROSOFT,
            K=packed.columns,
            N=packed.rows,
            bits=packed.bits,
            block_size=packed.block,
            accuracy_level=ACCURACY_LEVEL,
        )
        if not packed.midrise:
            return value
        # the half that the kernel's integers lack: of each block ½ · scale · the sum of its inputs
        blocks = self.builder.reshape(x, 0, 0, packed.blocks, packed.block)
        sums = self.builder.op("ReduceSum", blocks, self.builder.integers(-1), keepdims=0)
        halves = self.builder.op("FusedMatMul", sums, packed.scales, domain=MICROSOFT, transB=1, alpha=0.5)
        return self.builder.op("Add", value, halves)

    def _dynamic(self, x: ir.Value, quantized: QuantizedWeight, name: str, bias: NDArray[Any] | None) -> ir.Value:
        """x rounded to uint8, one scale a call; int8 weights, one scale an output."""
        builder, rows, quantized = self.builder, quantized.shape[0], odd(quantized)
        codes = builder.initializer(np.ascontiguousarray(quantized.int8().cpu().numpy().T), name)
        scales = quantized.scales.expand(rows, 1).reshape(-1).cpu().numpy()
        scale = builder.initializer(np.ascontiguousarray(scales, np.float32), f"{name}_scale")
        return builder.op("DynamicQuantizeMatMul", x, codes, scale, None, self._bias(bias, name), domain=MICROSOFT)

    def _float(self, x: ir.Value, modules: Sequence[nn.Module], name: str, bias: NDArray[Any] | None) -> ir.Value:
        weights = [_float(_weight(module)) for module in modules]
        array = weights[0] if len(weights) == 1 else np.concatenate(weights)
        if all(f"{self.names[module]}.weight" in self.halves for module in modules):
            half = self.builder.initializer(array.astype(np.float16), name)
            return self._product(x, self.builder.once("Cast", half, to=FLOAT), name, bias)
        return self._product(x, self.builder.initializer(array, name), name, bias)

    def _product(self, x: ir.Value, weight: ir.Value, name: str, bias: NDArray[Any] | None) -> ir.Value:
        """x · weightᵀ + bias; onnxruntime packs a constant weight when it loads, transposed or not."""
        value = self.builder.op("FusedMatMul", x, weight, domain=MICROSOFT, transB=1)
        found = self._bias(bias, name)
        return value if found is None else self.builder.op("Add", value, found)

    def _bias(self, bias: NDArray[Any] | None, name: str) -> ir.Value | None:
        return None if bias is None else self.builder.initializer(bias, f"{name.removesuffix('.weight')}.bias")


def num_rows(module: nn.Module) -> int:
    """Outputs of a linear layer, tokens of an embedding; nothing is decoded."""
    module = module.residual if isinstance(module, Branched) else module
    module = module[1] if isinstance(module, LowRank) else module
    quantized = _quantized(module)
    return int((_weight(module) if quantized is None else quantized.codes).shape[0])


def _weight(module: nn.Module) -> torch.Tensor:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _quantized(module: nn.Module) -> QuantizedWeight | None:
    part = stored(module)
    return None if part is None else part.quantized


def _bias(modules: Sequence[nn.Module]) -> NDArray[Any] | None:
    biases = [getattr(module, "bias", None) for module in modules]
    if all(bias is None for bias in biases):
        return None
    parts = [
        torch.zeros(num_rows(module)) if bias is None else bias for bias, module in zip(biases, modules, strict=True)
    ]
    return _float(torch.cat([part.detach().float().cpu() for part in parts]))


def _float(tensor: torch.Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def _common(names: Sequence[str]) -> str:
    """Of layers of one parent: 'layers.0.self_attn.q_proj+k_proj+v_proj.weight'."""
    parent, _, first = names[0].rpartition(".")
    return f"{parent}.{'+'.join([first, *(name.rpartition('.')[2] for name in names[1:])])}.weight"
