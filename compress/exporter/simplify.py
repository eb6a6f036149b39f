"""Rewrites of a QDQ graph that leave its values as they are, and let ONNX Runtime fuse it to integer kernels.

Each rule is one function with its reason.  All are exact, but for the order in which `pool_means` and `join_bias` let
the runtime add.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compress.exporter.graph import STORED_WEIGHT
from compress.exporter.nodes import Writer, attribute, constant, operators, producer, replace, sizes, users

# They move values about, or pick some: rounding before or after them is the same.
MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "MaxPool")


def simplify(graph: ir.Graph) -> None:
    """All rules, in the order in which one opens the way for the next."""
    pool_means(graph)
    join_padding(graph)
    sink_dequantize(graph)
    join_bias(graph)
    raise_quantize(graph)
    clip_integers(graph)
    drop_second_rounding(graph)


def pool_means(graph: ir.Graph) -> None:
    """ReduceMean over height and width → GlobalAveragePool: only this has an integer kernel."""
    writer = Writer(graph)
    for node in operators(graph, "ReduceMean"):
        axes = constant(node.inputs[1] if len(node.inputs) > 1 else None)
        if axes is None or len(sizes(node.inputs[0])) != 4 or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            continue
        pooled = writer.node(node, "GlobalAveragePool", node.inputs[0])
        if not attribute(node, "keepdims", 1):
            pooled = writer.node(node, "Flatten", pooled, axis=1)
        replace(graph, node, pooled)


def join_padding(graph: ir.Graph) -> None:
    """Pad → QuantizeLinear → DequantizeLinear → Conv: the Conv pads by itself.

    Every grid holds zero, so that padding before rounding and after it is the same; Pad has no quantized kernel.
    """
    for node in operators(graph, "Conv"):
        dequantize = producer(node.inputs[0], "DequantizeLinear")
        quantize = None if dequantize is None else producer(dequantize.inputs[0], "QuantizeLinear")
        pad = None if quantize is None else producer(quantize.inputs[0], "Pad")
        added = None if pad is None else _spatial_padding(pad)
        if added is None or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
            continue
        assert pad is not None
        assert quantize is not None
        assert dequantize is not None
        if [users(each.outputs[0]) for each in (pad, quantize)] != [[quantize], [dequantize]]:
            continue
        own = attribute(node, "pads", [0] * len(added))
        node.attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(own, added, strict=True)])
        quantize.replace_input_with(0, pad.inputs[0])
        for value in (quantize.outputs[0], dequantize.outputs[0]):
            value.shape = None if pad.inputs[0] is None else pad.inputs[0].shape
        graph.remove(pad, safe=True)


def _spatial_padding(pad: ir.Node) -> list[int] | None:
    """The `pads` of a Conv that do what a Pad does; None if it does more than put zeros around the image."""
    amounts, value, axes = (constant(v) for v in (*pad.inputs, None, None)[1:4])
    plain = attribute(pad, "mode", "constant") == "constant" and axes is None and (value is None or not value.any())
    if amounts is None or not plain:
        return None
    before, after = np.split(amounts, 2)
    if before[:2].any() or after[:2].any() or (amounts < 0).any():
        return None
    return [*map(int, before[2:]), *map(int, after[2:])]


def sink_dequantize(graph: ir.Graph) -> None:
    """DequantizeLinear → move becomes move → DequantizeLinear.

    Integers move cheaper, and the DequantizeLinear comes to stand in front of the product it is to be fused with.
    """
    writer = Writer(graph)
    for node in operators(graph, *MOVES, "Shape"):
        dequantize = producer(node.inputs[0], "DequantizeLinear")
        if dequantize is None or grid(dequantize) is None or len(node.outputs) > 1:
            continue
        if node.op_type == "Shape":
            node.replace_input_with(0, dequantize.inputs[0])
            continue
        moved = writer.node_like(node, node.op_type, dequantize.inputs[0], *node.inputs[1:])
        replace(graph, node, writer.node(node, "DequantizeLinear", moved, *dequantize.inputs[1:]))


def join_bias(graph: ir.Graph) -> None:
    """MatMul of quantized activations and a stored weight, then Add of a bias → Gemm of the rows, which takes the bias.

    ONNX Runtime makes a Gemm of the two before it looks for quantized operands, with a float bias, and then fuses
    nothing: 3 to 16 times the time of float.
    """
    writer = Writer(graph)
    for node in operators(graph, "Add"):
        for product, bias in zip(node.inputs, reversed(node.inputs), strict=True):
            matmul = producer(product, "MatMul")
            if matmul is not None and _is_linear(matmul, node, bias):
                replace(graph, node, _as_gemm(writer, matmul, node, bias))
                break


def _is_linear(matmul: ir.Node, add: ir.Node, bias: ir.Value | None) -> bool:
    """Whether the two are one linear layer of quantized activations, all sizes known but for one (the batch)."""
    transpose, array, out = producer(matmul.inputs[1], "Transpose"), constant(bias), sizes(add.outputs[0])
    if transpose is None or array is None or producer(matmul.inputs[0], "DequantizeLinear") is None:
        return False
    mark = None if transpose.inputs[0] is None else transpose.inputs[0].producer()
    stored = mark is not None and mark.op_type == STORED_WEIGHT
    known = out.count(-1) <= 1 and array.shape == out[-1:] and sizes(matmul.inputs[0])[-1:] > (0,)
    return stored and known and users(matmul.outputs[0]) == [add]


def _as_gemm(writer: Writer, matmul: ir.Node, add: ir.Node, bias: ir.Value | None) -> ir.Value:
    dequantize, transpose = producer(matmul.inputs[0], "DequantizeLinear"), producer(matmul.inputs[1], "Transpose")
    assert dequantize is not None
    assert transpose is not None
    columns = sizes(matmul.inputs[0])[-1]
    rows = writer.node(matmul, "Reshape", dequantize.inputs[0], writer.integers(-1, columns))
    rows = writer.node(matmul, "DequantizeLinear", rows, *dequantize.inputs[1:])
    rows.shape, rows.dtype = ir.Shape(["rows", columns]), ir.DataType.FLOAT
    product = writer.node_like(matmul, "Gemm", rows, transpose.inputs[0], bias, transB=1)
    return writer.node(add, "Reshape", product, writer.integers(*sizes(add.outputs[0])))


def raise_quantize(graph: ir.Graph) -> None:
    """Move → QuantizeLinear becomes QuantizeLinear → move: so it stands behind the operator it is to be fused with."""
    writer = Writer(graph)
    for node in reversed(operators(graph, "QuantizeLinear")):
        while (move := producer(node.inputs[0], *MOVES)) is not None:
            if grid(node) is None or len(move.outputs) > 1 or users(move.outputs[0]) != [node]:
                break
            quantized = writer.node(move, "QuantizeLinear", move.inputs[0], *node.inputs[1:])
            replace(graph, node, writer.node_like(move, move.op_type, quantized, *move.inputs[1:]))
            graph.remove(move, safe=True)
            above = quantized.producer()
            assert above is not None
            node = above


def clip_integers(graph: ir.Graph) -> None:
    """Relu or Clip → QuantizeLinear becomes QuantizeLinear → Clip of integers, or nothing where the grid ends there.

    Rounding is monotone: round(min(x, 6) / s) = min(round(x / s), round(6 / s)).  A Clip between a product and its
    QuantizeLinear would keep ONNX Runtime from fusing the two.
    """
    writer = Writer(graph)
    for node in operators(graph, "QuantizeLinear"):
        while (clip := producer(node.inputs[0], "Relu", "Clip")) is not None:
            steps, bounds = grid(node), _clip_bounds(clip)
            if steps is None or bounds is None:
                break
            node.replace_input_with(0, clip.inputs[0])
            if not clip.outputs[0].uses() and not clip.outputs[0].is_graph_output():
                graph.remove(clip, safe=True)
            _clip_quantized(writer, node, *(_rounded(bound, *steps) for bound in bounds))


def _clip_quantized(writer: Writer, node: ir.Node, low: int, high: int) -> None:
    """Clip the uint8 output of a QuantizeLinear, in place of a Clip that is there already."""
    quantized = node.outputs[0]
    readers = users(quantized)
    if len(readers) == 1 and readers[0].op_type == "Clip" and (there := _clip_bounds(readers[0])) is not None:
        low, high = max(low, int(there[0])), min(high, int(there[1]))
        replace(writer.graph, readers[0], quantized)
    if (low, high) != (0, 255):
        bounds = [writer.shared_constant(np.array(bound, np.uint8)) for bound in (low, high)]
        clip = ir.node("Clip", [quantized, *bounds])
        quantized.replace_all_uses_with(clip.outputs[0])
        clip.replace_input_with(0, quantized)
        writer.graph.insert_after(node, clip)


def drop_second_rounding(graph: ir.Graph) -> None:
    """DequantizeLinear → QuantizeLinear on the same grid gives back the integers."""
    for node in operators(graph, "QuantizeLinear"):
        dequantize = producer(node.inputs[0], "DequantizeLinear")
        if dequantize is not None and grid(node) is not None and grid(node) == grid(dequantize):
            assert dequantize.inputs[0] is not None
            replace(graph, node, dequantize.inputs[0])


def grid(node: ir.Node) -> tuple[np.float32, int] | None:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear with one uint8 grid for the whole tensor."""
    scale, zero_point = constant(node.inputs[1]), constant(node.inputs[2] if len(node.inputs) > 2 else None)
    if scale is None or zero_point is None or scale.ndim or zero_point.dtype != np.uint8:
        return None
    return np.float32(scale), int(zero_point)


def _clip_bounds(node: ir.Node) -> tuple[float, float] | None:
    """Lower and upper bound of a Relu or Clip; None if they are computed."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    bounds = [-np.inf, np.inf]
    for side, value in enumerate(node.inputs[1:3]):
        if value is not None:
            array = constant(value)
            if array is None:
                return None
            bounds[side] = float(array)
    return bounds[0], bounds[1]


def _rounded(x: float, scale: np.float32, zero_point: int) -> int:
    """What QuantizeLinear makes of x."""
    return int(np.clip(np.rint(np.float32(x) / scale) + zero_point, 0, 255))
