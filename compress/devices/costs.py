"""What a kernel costs on any device: operations, and the bytes that it reads and writes.

A multiply and an add are two operations.  Floats take the bytes of the type that the device computes in; codes those
of the file, once decoded.  A tensor that is looked up (Gather, Slice) counts by what is taken from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from compress.devices.kernels import VIEWS, Kernel
from compress.devices.trace import Step, Tensor
from compress.targets import Target

Arithmetic = Literal["float", "int8", "int4"]
Form = Literal["dense", "depthwise", "row"]

_WEIGHT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}  # position of the second factor; 1 in all others
_CONVOLUTIONS = {"Conv", "FusedConv", "ConvInteger", "QLinearConv"}
_PRODUCTS = {
    "MatMul",
    "FusedMatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "Gemm",
    "QGemm",
}
_ATTENTION = {"MultiHeadAttention", "GroupQueryAttention"}
_LOOKUPS = {"Gather", "GatherElements", "GatherND", "Slice", "GatherBlockQuantized"}
# Operations an element of the output, of what is no product; 1 for all others that compute.
_AN_ELEMENT = {
    "Softmax": 5,
    "LogSoftmax": 5,
    "LayerNormalization": 8,
    "SimplifiedLayerNormalization": 6,
    "SkipLayerNormalization": 9,
    "SkipSimplifiedLayerNormalization": 7,
    "InstanceNormalization": 8,
    "GroupNormalization": 8,
    "BatchNormalization": 2,
    "RotaryEmbedding": 3,
    "HardSwish": 4,
    "Gelu": 8,
    "QuickGelu": 5,
    "FastGelu": 8,
    "QuantizeLinear": 3,
    "DequantizeLinear": 2,
}
_MOVES = VIEWS | _LOOKUPS | {"Transpose", "Concat", "Split", "Cast", "Expand", "Tile", "Pad", "ConstantOfShape"}


@dataclass(frozen=True)
class Cost:
    """arithmetic  in which the products are computed.
    products    operations of products and convolutions, at the peak.
    form        of the products: 'depthwise' for such a convolution's, which reuses no weight; 'row' for one row with
                packed weights, each of which is decoded for one product; else 'dense'.
    others      operations of anything else, for the energy.
    """

    arithmetic: Arithmetic
    products: int
    form: Form
    others: int
    bytes_read: int
    bytes_written: int

    @property
    def bytes_moved(self) -> int:
        return self.bytes_read + self.bytes_written


def cost(kernel: Kernel, target: Target) -> Cost:
    """What the kernel costs where floats have the best type of the target."""
    step = kernel.step
    products = product_operations(step)
    return Cost(
        arithmetic=_arithmetic(kernel, target),
        products=products,
        form=_form(step),
        others=0 if products and step.op not in _ATTENTION else _other_operations(step),
        bytes_read=_read(step, target),
        bytes_written=0 if step.op in VIEWS else sum(tensor_bytes(tensor, target) for tensor in step.outputs),
    )


def tensor_bytes(tensor: Tensor, target: Target) -> int:
    """Bytes of a tensor on the device."""
    narrow = target.float_types[0] != "float32"
    bits = 16 if tensor.kind == "FLOAT" and narrow else tensor.bits
    return (tensor.elements * bits + 7) // 8


def _form(step: Step) -> Form:
    if step.op == "MatMulNBits" and step.given[0].elements == int(step.attributes["K"]):
        return "row"
    if step.op in _CONVOLUTIONS and int(step.attributes.get("group", 1)) > 1 and _weight(step).shape[1] == 1:
        return "depthwise"
    return "dense"


def product_operations(step: Step) -> int:
    """Operations of a convolution, a matrix product, or attention's two products; 0 of anything else."""
    if step.op in _CONVOLUTIONS:
        return 2 * step.outputs[0].elements * prod(_weight(step).shape[1:])
    if step.op == "ConvTranspose":
        return 2 * step.given[0].elements * prod(_weight(step).shape[1:])
    if step.op in _PRODUCTS:
        swapped = step.attributes.get("transB", 0)
        return 2 * step.outputs[0].elements * _weight(step).shape[-1 if swapped else -2]
    if step.op == "MatMulNBits":
        return 2 * step.given[0].elements * int(step.attributes["N"])
    if step.op in _ATTENTION:
        return _attention(step)
    if step.op == "Einsum":
        return 2 * step.outputs[0].elements * _summed(step)
    return 0


def _attention(step: Step) -> int:
    """2 · queries · keys · (size of a key + size of a value), for all heads."""
    query, heads = step.given[0], int(step.attributes["num_heads"])
    batch, queries = query.shape[0], query.shape[1]
    output = step.outputs[0]
    value_size = output.shape[-1] // heads
    key_size = query.shape[-1] // heads if len(query.shape) == 3 else query.shape[-1]
    if step.op == "GroupQueryAttention":
        key_size = value_size
    return 2 * batch * heads * queries * _keys(step) * (key_size + value_size)


def _keys(step: Step) -> int:
    """Tokens that are attended to."""
    inputs = [*step.inputs, *[None] * (8 - len(step.inputs))]
    past = inputs[3] if step.op == "GroupQueryAttention" else inputs[6]
    before = past.shape[2] if past is not None else 0
    key = inputs[1]
    if key is None or step.op == "GroupQueryAttention":
        return before + step.given[0].shape[1]
    return before + (key.shape[2] if len(key.shape) == 4 else key.shape[1])


def _summed(step: Step) -> int:
    """The sizes of the letters of an Einsum that its result does not have, multiplied."""
    left, _, right = step.attributes["equation"].decode().replace(" ", "").partition("->")
    sizes = {
        letter: size
        for term, tensor in zip(left.split(","), step.given, strict=True)
        for letter, size in zip(reversed(term), reversed(tensor.shape), strict=False)
    }
    return prod(size for letter, size in sizes.items() if letter.isalpha() and letter not in right)


def _weight(step: Step) -> Tensor:
    weight = step.inputs[_WEIGHT.get(step.op, 1)]
    assert weight is not None
    return weight


def _arithmetic(kernel: Kernel, target: Target) -> Arithmetic:
    step = kernel.step
    if kernel.integer:
        return "int8"
    if step.op == "MatMulNBits" and target.integer_form == "kernels" and step.attributes.get("accuracy_level") == 4:
        narrow = int(step.attributes.get("bits", 4)) <= 4
        return "int4" if narrow and target.peak_ops_per_s.int4 is not None else "int8"
    return "float"


def _other_operations(step: Step) -> int:
    if step.op in _MOVES:
        return 0
    if step.op in _ATTENTION:  # the softmax
        query = step.given[0]
        return (
            _AN_ELEMENT["Softmax"] * query.shape[0] * int(step.attributes["num_heads"]) * query.shape[1] * _keys(step)
        )
    size = max((tensor.elements for tensor in (*step.given, *step.outputs)), default=0)
    return _AN_ELEMENT.get(step.op, 1) * size


def _read(step: Step, target: Target) -> int:
    if step.op in VIEWS:
        return 0
    if step.op == "GatherBlockQuantized":  # codes and scales of the rows that are looked up
        table, indices, scales = step.given[:3]
        rows = indices.elements
        a_row = (tensor_bytes(table, target) + tensor_bytes(scales, target)) // max(table.shape[0], 1)
        return rows * a_row + tensor_bytes(indices, target)
    if step.op in _LOOKUPS:
        return tensor_bytes(step.outputs[0], target) + sum(tensor_bytes(each, target) for each in step.given[1:])
    return sum(tensor_bytes(tensor, target) for tensor in set(step.given))
