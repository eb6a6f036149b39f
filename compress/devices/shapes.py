"""Types and shapes that ONNX does not tell: of onnxruntime's own operators, and of some of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, ...]


Outputs: TypeAlias = list[tuple[str, Shape]]
Inputs: TypeAlias = Sequence[Any]  # what has a kind and a shape, or None where one is left out
Rule: TypeAlias = Callable[[Inputs, Mapping[str, Any]], Outputs]


def _same(inputs: Inputs, _: Mapping[str, Any]) -> Outputs:
    return [(inputs[0].kind, inputs[0].shape)]


def _quantized(inputs: Inputs, _: Mapping[str, Any]) -> Outputs:
    zero_point = inputs[2] if len(inputs) > 2 else None
    return [(zero_point.kind if zero_point is not None else "UINT8", inputs[0].shape)]


def _dequantized(inputs: Inputs, _: Mapping[str, Any]) -> Outputs:
    return [(inputs[1].kind, inputs[0].shape)]


def _skip_norm(inputs: Inputs, _: Mapping[str, Any]) -> Outputs:
    """Output, mean, inverse deviation, sum."""
    shape = inputs[0].shape
    row = (*shape[:-1], 1)
    return [(inputs[0].kind, shape), ("FLOAT", row), ("FLOAT", row), (inputs[0].kind, shape)]


def _norm(inputs: Inputs, _: Mapping[str, Any]) -> Outputs:
    shape = inputs[0].shape
    return [(inputs[0].kind, shape), ("FLOAT", (*shape[:-1], 1)), ("FLOAT", (*shape[:-1], 1))]


def _matmul_nbits(inputs: Inputs, attributes: Mapping[str, Any]) -> Outputs:
    return [(inputs[0].kind, (*inputs[0].shape[:-1], int(attributes["N"])))]


def _gather_block(inputs: Inputs, attributes: Mapping[str, Any]) -> Outputs:
    """Rows of a packed table: uint8 holds 8 / bits columns."""
    table, indices, scales = inputs[0], inputs[1], inputs[2]
    a_byte = 8 // int(attributes.get("bits", 4)) if table.kind == "UINT8" else 1
    return [(scales.kind, (*indices.shape, *table.shape[1:-1], table.shape[-1] * a_byte))]


def product(left: Shape, right: Shape) -> Shape:
    """The shape of a product of matrices, or of stacks of them."""
    return (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])


def _swapped(shape: Shape, swap: Any) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if swap else shape


def _fused_matmul(inputs: Inputs, attributes: Mapping[str, Any]) -> Outputs:
    left = _swapped(inputs[0].shape, attributes.get("transA"))
    return [(inputs[0].kind, product(left, _swapped(inputs[1].shape, attributes.get("transB"))))]


def _float_product(inputs: Inputs, _: Mapping[str, Any]) -> Outputs:
    return [("FLOAT", product(inputs[0].shape, inputs[1].shape))]


def _qgemm(inputs: Inputs, attributes: Mapping[str, Any]) -> Outputs:
    left = _swapped(inputs[0].shape, attributes.get("transA"))
    right = _swapped(inputs[3].shape, attributes.get("transB"))
    quantized = len(inputs) > 8 and inputs[8] is not None
    return [(inputs[8].kind if quantized else "FLOAT", product(left, right))]


def _qlinear_pair(inputs: Inputs, _: Mapping[str, Any]) -> Outputs:
    return [(inputs[0].kind, tuple(np.broadcast_shapes(inputs[0].shape, inputs[3].shape)))]


def _qlinear_mean(inputs: Inputs, attributes: Mapping[str, Any]) -> Outputs:
    batch, *rest = inputs[0].shape
    if attributes.get("channels_last"):
        return [(inputs[0].kind, (batch, *(1 for _ in rest[:-1]), rest[-1]))]
    return [(inputs[0].kind, (batch, rest[0], *(1 for _ in rest[1:])))]


def _qlinear_concat(inputs: Inputs, attributes: Mapping[str, Any]) -> Outputs:
    tensors, axis = inputs[2::3], int(attributes["axis"])
    shape = list(tensors[0].shape)
    shape[axis] = sum(each.shape[axis] for each in tensors)
    return [(tensors[0].kind, tuple(shape))]


def _multi_head(inputs: Inputs, attributes: Mapping[str, Any]) -> Outputs:
    """Output [batch, queries, values], and keys and values [batch, heads, past + keys, size]."""
    given: list[Any] = [*inputs, *[None] * (8 - len(inputs))]
    query, key, value, past = given[0], given[1], given[2], given[6]
    heads = int(attributes["num_heads"])
    before = past.shape[2] if past is not None else 0
    batch, queries = query.shape[0], query.shape[1]
    if key is None:  # packed [batch, keys, heads, 3, size]
        size = query.shape[-1]
        made = (query.kind, (batch, heads, queries, size))
        return [(query.kind, (batch, queries, heads * size)), made, made]
    if len(key.shape) == 4:
        keys, key_size, value_size = key.shape[2], key.shape[3], value.shape[3]
    else:
        keys, key_size, value_size = key.shape[1], key.shape[2] // heads, value.shape[2] // heads
    return [
        (query.kind, (batch, queries, heads * value_size)),
        (query.kind, (batch, heads, before + keys, key_size)),
        (query.kind, (batch, heads, before + keys, value_size)),
    ]


def _group_query(inputs: Inputs, attributes: Mapping[str, Any]) -> Outputs:
    query, key, past = inputs[0], inputs[1], inputs[3] if len(inputs) > 3 else None
    heads, kv_heads = int(attributes["num_heads"]), int(attributes["kv_num_heads"])
    batch, queries, width = query.shape
    size = width // heads if key is not None else width // (heads + 2 * kv_heads)
    cache = (batch, kv_heads, (past.shape[2] if past is not None else 0) + queries, size)
    return [(query.kind, (batch, queries, heads * size)), (query.kind, cache), (query.kind, cache)]


CONTRIB: dict[str, Rule] = {
    "GroupNormalization": _same,  # ONNX's own, whose shape it does not infer
    "SimplifiedLayerNormalization": _norm,  # onnxruntime keeps it in ONNX's domain
    **{
        f"com.microsoft.{name}": rule
        for name, rule in {
            "BiasGelu": _same,
            "DequantizeLinear": _dequantized,
            "DynamicQuantizeMatMul": _float_product,
            "FastGelu": _same,
            "FusedMatMul": _fused_matmul,
            "GatherBlockQuantized": _gather_block,
            "Gelu": _same,
            "GroupQueryAttention": _group_query,
            "MatMulIntegerToFloat": _float_product,
            "MatMulNBits": _matmul_nbits,
            "MultiHeadAttention": _multi_head,
            "QGemm": _qgemm,
            "QLinearAdd": _qlinear_pair,
            "QLinearConcat": _qlinear_concat,
            "QLinearGlobalAveragePool": _qlinear_mean,
            "QLinearLeakyRelu": _same,
            "QLinearMul": _qlinear_pair,
            "QLinearSigmoid": _same,
            "QuantizeLinear": _quantized,
            "QuickGelu": _same,
            "RotaryEmbedding": _same,
            "SkipLayerNormalization": _skip_norm,
            "SkipSimplifiedLayerNormalization": _skip_norm,
        }.items()
    },
}
