"""The form that compilers of QDQ graphs read: every operator is one of floats, between a DequantizeLinear and a
QuantizeLinear.

`simplify` and `store_weights` bring a graph into the form that ONNX Runtime fuses best, in which integers are clipped,
reshaped and pooled as they are.  The rewrites here take that back, where a target's compiler reads the file itself;
they leave every value as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from compress.errors import ModelError
from compress.exporter.nodes import Writer, constant, operators, producer, replace
from compress.exporter.simplify import MOVES, grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compress.models.activations import QuantizedActivation


def move_floats(graph: ir.Graph) -> None:
    """A move of integers becomes DequantizeLinear → move of floats → QuantizeLinear."""
    writer = Writer(graph)
    grids: dict[ir.Value, list[ir.Value | None]] = {}  # of integers, by the value: scale and zero point
    for node in list(graph):
        if node.op_type == "QuantizeLinear":
            grids[node.outputs[0]] = list(node.inputs[1:])
        given = grids.get(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
        if given is not None and node.op_type == "Clip":
            grids[node.outputs[0]] = given
        if given is None or node.op_type not in MOVES:
            continue
        floats = writer.node(node, "DequantizeLinear", node.inputs[0], *given)
        moved = writer.node_like(node, node.op_type, floats, *node.inputs[1:])
        quantized = writer.node(node, "QuantizeLinear", moved, *given)
        grids[quantized] = given
        replace(graph, node, quantized)


def clip_floats(graph: ir.Graph) -> None:
    """QuantizeLinear → Clip of integers becomes Relu or Clip of floats → QuantizeLinear.

    After `move_floats`, which lets no move stand between the two.  Bounds are on the grid, and rounding is monotone.
    """
    writer = Writer(graph)
    for clip in operators(graph, "Clip"):
        quantize = producer(clip.inputs[0], "QuantizeLinear")
        steps = None if quantize is None else grid(quantize)
        if quantize is None or steps is None:
            continue
        scale, zero_point = steps
        codes = [constant(value) for value in clip.inputs[1:3]]
        low, high = (int(code) if code is not None else end for code, end in zip(codes, (0, 255), strict=True))
        if (low, high) == (zero_point, 255):
            clipped = writer.node(quantize, "Relu", quantize.inputs[0])
        else:
            bounds = [writer.shared_constant(np.array((code - zero_point) * scale, np.float32)) for code in (low, high)]
            clipped = writer.node(quantize, "Clip", quantize.inputs[0], *bounds)
        quantize.replace_input_with(0, clipped)
        replace(graph, clip, quantize.outputs[0])


def make_symmetric(graph: ir.Graph, table: Mapping[str, QuantizedActivation], target: str) -> None:
    """uint8 activations with their zero point in the middle become int8 ones with zero point 0.

    Raises ModelError, with the name of the target, for a grid whose zero point is elsewhere.
    """
    for key, activation in table.items():
        if activation.zero_point != 2 ** (activation.num_bits - 1):
            raise ModelError(
                f"{key or 'the input'}: its zero point is {activation.zero_point}, and target {target} runs "
                f"activations with zero in the middle alone: apply quantize.static with target: {target}"
            )
    zero = Writer(graph).shared_constant(np.array(0, np.int8))
    for node in operators(graph, "QuantizeLinear", "DequantizeLinear"):
        if grid(node) is not None:
            node.replace_input_with(2, zero)
