"""Float weights among quantized activations stay float.

Where a convolution or Gemm of a float weight stands between DequantizeLinear and QuantizeLinear, ONNX Runtime
(`WeightBiasQuantization`, measured with 1.31.1) rounds the weight to int8 by itself when the model loads, with one
scale for the whole tensor, and says nothing: with one channel a hundred times the others, their results were 46 % off.
It looks only at activations with one scale for the whole tensor, so these get theirs once for each channel.
"""

from __future__ import annotations

import onnx_ir as ir

from compress.exporter.nodes import Writer, constant, is_constant, operators, producer, sizes, users

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_PASSED_OVER = ("Relu", "Clip", "Add")  # Add: the bias that a MatMul takes to become a Gemm


def keep_weights_float(graph: ir.Graph) -> None:
    """Give every product of quantized activations and a float constant, whose result is quantized, its own scales."""
    writer = Writer(graph)
    for node in operators(graph, *_PRODUCTS):
        dequantize = producer(node.inputs[0], "DequantizeLinear")
        if dequantize is None or producer(node.inputs[1], "DequantizeLinear") or not is_constant(node.inputs[1]):
            continue
        scale, shape = constant(dequantize.inputs[1]), sizes(node.inputs[0])
        if scale is None or scale.ndim or not shape or not _is_quantized(node):
            continue
        axis = 1 if node.op_type.startswith("Conv") else len(shape) - 1
        channels = writer.integers(shape[axis])
        parameters = [writer.node(node, "Expand", value, channels) for value in dequantize.inputs[1:]]
        node.replace_input_with(0, writer.node(node, "DequantizeLinear", dequantize.inputs[0], *parameters, axis=axis))


def _is_quantized(node: ir.Node) -> bool:
    """Whether the result goes to QuantizeLinear alone, by way of activations."""
    readers = users(node.outputs[0])
    if len(readers) != 1:
        return False
    return readers[0].op_type == "QuantizeLinear" or (readers[0].op_type in _PASSED_OVER and _is_quantized(readers[0]))
