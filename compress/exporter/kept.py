"""Weights that stay codes in memory: operators that multiply by them, or decode them anew for each product.

A classifier's weights are decoded once, when the model loads.  Of a model that is large and computes much with each
weight, such as a UNet, floats of all layers would take eight times the file, and intermediates of the decoders more:

- A matrix product takes MatMulNBits, which reads 4 and 8 bits and rounds activations to int8, a scale a block.
- A convolution reads DequantizeLinear of int4 or uint8, in groups along the rows of its weight.  ONNX Runtime runs it
  before each convolution and gives the floats back after it.
- An embedding takes GatherBlockQuantized, which decodes the rows that are asked for.

Other weights (2 or 3 bits, ternary, mid-rise, uneven groups) have no such operator and are decoded at load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch

from compress.exporter.codecs import disk_scales
from compress.exporter.nodes import Writer, attribute, constant, replace, transposes_matrix, users
from compress.exporter.text.builder import MICROSOFT
from compress.exporter.text.linear import ACCURACY_LEVEL
from compress.exporter.text.packed import kernel_block, pack_weight, unpacked_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from compress.numerics.weight import QuantizedWeight
    from compress.targets import Target

_FIRST_OPSET = 21  # whose DequantizeLinear takes int4 and groups
_TYPES = {4: ml_dtypes.int4, 8: np.uint8}
# Of int8 codes ONNX Runtime would make uint8 by itself on x86 without VNNI, with one zero point for all rows, which its
# DequantizeLinear of many scales then refuses (1.32.0).
_CENTRES = {4: 0, 8: 128}


def can_keep_codes(target: Target) -> bool:
    """Whether the target's runtime has the operators: onnxruntime's own on processors, and floats in float32."""
    return target.runtime == "onnx-cpu" and target.opset >= _FIRST_OPSET and not target.is_half


def read_codes(model: ir.Model, weight: ir.Value, name: str, quantized: QuantizedWeight) -> None:
    """Let every product and convolution of `weight`, a mark's output, read its codes, if there are operators for it."""
    if quantized.num_bits not in _TYPES or quantized.packing != "planes" or quantized.midrise:
        return
    for reader in users(weight):
        if transposes_matrix(reader):
            for product in users(reader.outputs[0]):
                if product.op_type == "MatMul" and product.inputs[1] is reader.outputs[0]:
                    _multiply(model, product, None, name, quantized)
        elif _is_linear(reader, weight):
            _multiply(model, reader, reader.inputs[2] if len(reader.inputs) > 2 else None, name, quantized)
        elif reader.op_type == "Conv" and reader.inputs[1] is weight:
            decoded = _dequantized(_Front(model.graph, reader), name, quantized)
            if decoded is not None:
                reader.replace_input_with(1, decoded)
        elif reader.op_type == "Gather" and reader.inputs[0] is weight:
            _look_up(model, reader, name, quantized)


class _Front(Writer):
    """Writes in front of one node what `pack_weight` asks of a builder."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        super().__init__(graph)
        self.before = before

    def once(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        return self.node(self.before, op_type, *inputs, **attributes)

    def looked_up(self, stored: ir.Value, table: NDArray[Any]) -> ir.Value:
        index = self.once("Cast", stored, to=ir.DataType.INT32)
        return self.once("Gather", self.shared_constant(table), index, axis=0)

    def shared_constant(self, array: NDArray[Any]) -> ir.Value:
        """A new constant: equal ones become one when the graph is tidied."""
        return self.initializer(array, f"constant:{self.before.name}")


def _is_linear(node: ir.Node, weight: ir.Value) -> bool:
    """Whether a Gemm is x · weightᵀ + bias, with a constant bias or none."""
    if node.op_type != "Gemm" or node.inputs[1] is not weight or not attribute(node, "transB", 0):
        return False
    scaled = attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0
    return not (scaled or attribute(node, "transA", 0)) and (
        len(node.inputs) < 3 or constant(node.inputs[2]) is not None
    )


def _multiply(model: ir.Model, product: ir.Node, bias: ir.Value | None, name: str, quantized: QuantizedWeight) -> None:
    """MatMulNBits in place of the product, if it has a block for the weight's groups."""
    if kernel_block(quantized) is None:
        return
    packed = pack_weight(_Front(model.graph, product), name, quantized)
    assert packed is not None  # it has a block
    node = ir.node(
        "MatMulNBits",
        [product.inputs[0], packed.codes, packed.scales, packed.zeros, None, bias],
        {
            "K": packed.columns,
            "N": packed.rows,
            "bits": packed.bits,
            "block_size": packed.block,
            "accuracy_level": ACCURACY_LEVEL,
        },
        domain=MICROSOFT,
        metadata_props=dict(product.metadata_props),
    )
    model.opset_imports[MICROSOFT] = 1
    model.graph.insert_before(product, node)
    replace(model.graph, product, node.outputs[0])


def _look_up(model: ir.Model, gather: ir.Node, name: str, quantized: QuantizedWeight) -> None:
    """GatherBlockQuantized in place of rows [N, L] of a table, if it has a block for the weight's groups that fills its
    columns."""
    block, indices = kernel_block(quantized), gather.inputs[1]
    of_rows = attribute(gather, "axis", 0) == 0 and indices is not None and len(indices.shape or ()) == 2
    if block is None or quantized.shape[1] % block or not of_rows:
        return
    front = _Front(model.graph, gather)
    packed = pack_weight(front, name, quantized, whole=True)
    assert packed is not None  # it has a block
    scales = front.once("Reshape", packed.scales, front.integers(packed.rows, packed.blocks, 1))
    node = ir.node(
        "GatherBlockQuantized",
        [packed.codes, indices, scales, unpacked_zeros(front, packed)],
        {"bits": packed.bits, "block_size": packed.block, "gather_axis": 0, "quantize_axis": 2},
        domain=MICROSOFT,
        metadata_props=dict(gather.metadata_props),
    )
    model.opset_imports[MICROSOFT] = 1
    model.graph.insert_before(gather, node)
    rows = front.once("Reshape", node.outputs[0], front.integers(0, 0, packed.columns))
    replace(model.graph, gather, rows)


def _dequantized(front: _Front, name: str, quantized: QuantizedWeight) -> ir.Value | None:
    """The float weight of its own shape, decoded at every run; None for groups of uneven sizes."""
    rows = len(quantized.codes)
    columns = quantized.codes.numel() // rows
    scales = quantized.scales if quantized.multipliers is None else quantized.scales * quantized.multipliers
    group = quantized.group_size if scales.shape[1] > 1 else None
    if group is not None and columns % group:
        return None
    shape = (rows,) if group is None else tuple(scales.shape)

    def typed(values: Tensor) -> NDArray[Any]:
        return (values.numpy().astype(np.int16) + _CENTRES[quantized.num_bits]).astype(_TYPES[quantized.num_bits])

    codes = front.initializer(typed(quantized.codes.reshape(rows, columns)), name)
    stored = disk_scales(scales.expand(rows, -1).reshape(shape).numpy())
    scale = front.initializer(stored, f"{name}_scale")
    if stored.dtype != np.float32:
        scale = front.once("Cast", scale, to=ir.DataType.FLOAT)
    zeros, zero_points = quantized.zero_points, None
    if zeros is None and _CENTRES[quantized.num_bits]:
        zeros = torch.zeros(scales.shape, dtype=torch.int8)
    if zeros is not None:
        zero_points = front.initializer(typed(zeros.expand(rows, -1).reshape(shape)), f"{name}_zero_point")
    along = {"axis": 0} if group is None else {"axis": 1, "block_size": group}
    value = front.once("DequantizeLinear", codes, scale, zero_points, **along)
    return front.once("Reshape", value, front.integers(*quantized.shape))
