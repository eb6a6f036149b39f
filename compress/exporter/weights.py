"""Stored weights take the place of their marks in the graph, in the form that each consumer's kernel wants.

- A convolution or matrix product of quantized activations takes the int8 form, if the weight has one: decoded to
  int8, then DequantizeLinear with a scale an output channel, which ONNX Runtime fuses to QLinearConv, QGemm and so on
  (it folds the decoder first).  Its bias becomes int32.
- Any other takes float32, decoded by Cast, Sub and Mul, which fold to an ordinary initializer.  A DequantizeLinear
  here would never be folded, and run at every inference.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from compress.exporter.decoder import Decoder, has_int8_form
from compress.exporter.graph import DOMAIN, STORED_WEIGHT
from compress.exporter.kept import read_codes
from compress.exporter.nodes import Writer, attribute, constant, producer, replace, transposes_matrix, users
from compress.exporter.simplify import grid

if TYPE_CHECKING:
    from compress.numerics.weight import QuantizedWeight

# A bias is an int32 multiple of input scale · weight scale.  Half of int32's range is left for the sum of products.
LARGEST_BIAS = 2.0**30


@dataclass(frozen=True)
class Product:
    """A node that multiplies quantized activations with a stored weight.

    transposed   the node reads the weight as [in, out].
    input_scale  of the activations, a constant.
    """

    node: ir.Node
    transposed: bool
    input_scale: ir.Value


def store_weights(
    model: ir.Model,
    weights: dict[str, QuantizedWeight],
    *,
    folded: bool = True,
    integer_bias: bool = True,
    keep_codes: bool = False,
) -> None:
    """Replace every StoredWeight mark of `compress.exporter.graph` by decoders of `weights[its parameter]`.

    A weight that is used twice is stored once.

    folded        the reader folds constants, as ONNX Runtime does; else scales lie as DequantizeLinear reads them.
    integer_bias  of integer products; else it stays float.
    keep_codes    float products read codes, where operators do (`compress.exporter.kept`).
    """
    marks = [node for node in model.graph if node.domain == DOMAIN and node.op_type == STORED_WEIGHT]
    if not marks:
        return
    writer, first = Writer(model.graph), model.graph[0]
    decoders: dict[str, Decoder] = {}
    for mark in marks:
        name = attribute(mark, "parameter", "")
        decoder = decoders.setdefault(name, Decoder(writer, first, name, weights[name], folded))
        weight = mark.outputs[0]
        if has_int8_form(decoder.quantized):
            for product in integer_products(weight):
                _multiply_integers(product, decoder, integer_bias)
        if keep_codes:
            read_codes(model, weight, name, weights[name])
        for reader in users(weight):
            if transposes_matrix(reader) and reader.outputs[0].uses():
                replace(model.graph, reader, decoder.float32(transposed=True))
            elif not transposes_matrix(reader):
                _read(reader, weight, decoder.float32())


def integer_products(weight: ir.Value) -> list[Product]:
    """The consumers of `weight`, maybe transposed, that integer kernels can run."""
    products = []
    for node in users(weight):
        if transposes_matrix(node):
            found = [(reader, node.outputs[0], True) for reader in users(node.outputs[0])]
        else:
            found = [(node, weight, False)]
        for reader, operand, transposed in found:
            scale = _input_scale(reader)
            if scale is not None and _multiplies(reader, operand, transposed):
                products.append(Product(reader, transposed, scale))
    return products


def _read(node: ir.Node, before: ir.Value, after: ir.Value) -> None:
    for index, value in enumerate(node.inputs):
        if value is before:
            node.replace_input_with(index, after)


def _input_scale(node: ir.Node) -> ir.Value | None:
    """The scale of the quantized tensor that is the node's first input."""
    dequantize = producer(node.inputs[0] if node.inputs else None, "DequantizeLinear")
    return None if dequantize is None or grid(dequantize) is None else dequantize.inputs[1]


def _multiplies(node: ir.Node, operand: ir.Value, transposed: bool) -> bool:
    """Whether an integer kernel takes the node, a Conv, MatMul or Gemm, with `operand` as its weight."""
    if len(node.inputs) < 2 or node.inputs[1] is not operand or node.domain != "":
        return False
    if len(node.inputs) > 2 and constant(node.inputs[2]) is None:
        return False
    if node.op_type == "Gemm":
        scaled = attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0
        return not scaled and not attribute(node, "transA", 0) and bool(attribute(node, "transB", 0)) != transposed
    if node.op_type == "Conv":  # only products of matrices may have a float output
        return not transposed and [reader.op_type for reader in users(node.outputs[0])] == ["QuantizeLinear"]
    return node.op_type == "MatMul" and transposed


def _multiply_integers(product: Product, decoder: Decoder, integer_bias: bool) -> None:
    """Give the product the int8 weight, and an int32 bias if that is wanted."""
    node, bias = product.node, product.node.inputs[2] if len(product.node.inputs) > 2 else None
    if bias is not None and integer_bias:
        roomy = with_room_for_bias(decoder.quantized, _array(bias), float(_array(product.input_scale)))
        if roomy is not decoder.quantized:
            decoder = Decoder(decoder.writer, decoder.before, decoder.name, roomy, decoder.folded)
        node.replace_input_with(2, _integer_bias(bias, product.input_scale, decoder))
    # ONNX Runtime fuses no QGemm without one, and gives MatMul's a wrong one where it makes the weight unsigned.
    # Its convolutions need none; other compilers get one with every weight.
    zero_point = node.op_type != "Conv" or not decoder.folded
    node.replace_input_with(1, decoder.int8(product.transposed, zero_point))


def _integer_bias(bias: ir.Value, input_scale: ir.Value, decoder: Decoder) -> ir.Value:
    """DequantizeLinear of the int32 bias; its scale, input scale · weight scale, is a product that folds."""
    writer, before, name = decoder.writer, decoder.before, str(bias.name)
    step = _array(input_scale) * decoder.quantized.scales.numpy().reshape(-1)
    if decoder.folded:
        scale = writer.node(before, "Mul", input_scale, decoder.scale())
    else:
        scale = writer.initializer(step if step.size > 1 else step[0], f"{name}_scale")
    codes = np.rint(_array(bias).astype(np.float64) / step).astype(np.int32)
    if len(bias.uses()) == 1:
        writer.graph.initializers.pop(name)  # the name is free for the integers
    axis = {"axis": 0} if step.size > 1 else {}
    return writer.node(before, "DequantizeLinear", writer.initializer(codes, name), scale, **axis)


def _array(value: ir.Value) -> NDArray[Any]:
    array = constant(value)
    assert array is not None  # `_multiplies` and `grid` have seen to it
    return array


def with_room_for_bias(quantized: QuantizedWeight, bias: NDArray[Any], input_scale: float) -> QuantizedWeight:
    """The weight with larger scales in rows that are so small that their int32 bias would overflow.

    These rows are zero, or weigh less than a thousandth of their bias each: channels that training has switched off.
    """
    smallest = torch.from_numpy(np.abs(bias) / (LARGEST_BIAS * input_scale)).float()[:, None]
    if bool((quantized.scales >= smallest).all()):
        return quantized
    scales = torch.maximum(quantized.scales, smallest)
    ratio = (quantized.scales / scales).reshape(-1, *[1] * (quantized.codes.dim() - 1))
    codes = (quantized.codes.float() * ratio).round().to(torch.int8)
    return dataclasses.replace(quantized, codes=codes, scales=scales, packing="planes")
