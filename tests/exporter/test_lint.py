"""The lint against what onnxruntime does: it names a node where, and only where, fusion does not happen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from compress.exporter.lint import Finding, lint
from compress.runtime.session import optimized_ops
from tests.graphs import Builder, classifier, codes, quantized_classifier

X = [1, 8, 6, 6]
Write = Callable[[Builder, str], str]


def float32(*shape: int) -> np.ndarray:
    return np.full(shape, 0.1, np.float32)


def scalar(g: Builder, value: float) -> str:
    return g.constant(np.float32(value))


def conv(g: Builder, x: str, weight: str | None = None, *bias: str) -> str:
    return g.op("Conv", x, weight or g.weight(codes(8, 8, 3, 3)), *bias, pads=[1, 1, 1, 1])


def decoded(g: Builder) -> str:
    """int8 weights, two codes a byte, decoded by a table."""
    table = g.constant(np.stack([np.arange(256) % 16 - 8, np.arange(256) // 16 - 8], 1).astype(np.int8))
    packed = g.op("Cast", g.constant(np.arange(288).astype(np.uint8)), to=TensorProto.INT32)
    weight = g.op("Reshape", g.op("Gather", table, packed), g.constant(np.array([8, 8, 3, 3])))
    return g.op("DequantizeLinear", weight, g.constant(float32(8)), g.constant(np.zeros(8, np.int8)), axis=0)


def int4(g: Builder) -> str:
    return g.op("DequantizeLinear", g.int4(codes(8, 8, 3, 3) // 16), g.constant(float32(8)), axis=0)


def int32_bias(g: Builder, size: int = 8, factor: float = 1.0) -> str:
    """Its scale is the input's, 0.1, times the weight's, 0.01."""
    scales = np.full(size, 0.001 * factor, np.float32)
    return g.op("DequantizeLinear", g.constant(np.ones(size, np.int32)), g.constant(scales), axis=0)


def clip(g: Builder, x: str, low: float, high: float) -> str:
    return g.op("Clip", x, scalar(g, low), scalar(g, high))


def unsigned(g: Builder) -> str:
    return g.weight((codes(8, 8, 3, 3).astype(np.int16) + 128).astype(np.uint8), zero_point=128)


# What lies between a quantized input and a quantized output, whether onnxruntime fuses it, and the rules it breaks.
BETWEEN: dict[str, tuple[Write, bool, set[str]]] = {
    "convolution": (conv, True, set()),
    "its weight decoded from a table": (lambda g, x: conv(g, x, decoded(g)), True, set()),
    "its bias in float": (lambda g, x: conv(g, x, None, g.constant(float32(8))), True, set()),
    "its bias in int32": (lambda g, x: conv(g, x, None, int32_bias(g)), True, set()),
    "its bias in int32 of another scale": (lambda g, x: conv(g, x, None, int32_bias(g, 8, 2.0)), False, {"bias-scale"}),
    "relu that the grid keeps": (lambda g, x: g.qdq(g.op("Relu", conv(g, x)), zero_point=0), True, set()),
    "relu that it does not": (lambda g, x: g.qdq(g.op("Relu", conv(g, x)), zero_point=3), False, {"blocked-fusion"}),
    "clip that the grid keeps": (lambda g, x: g.qdq(clip(g, conv(g, x), 0, 6), 6 / 255, 0), True, set()),
    "clip below the grid": (lambda g, x: g.qdq(clip(g, conv(g, x), 0, 6), 0.1, 0), False, {"blocked-fusion"}),
    "moved before it is quantized": (lambda g, x: g.op("Transpose", conv(g, x), perm=[0, 2, 3, 1]), True, set()),
    "pooled before it is quantized": (lambda g, x: g.op("MaxPool", conv(g, x), kernel_shape=[2, 2]), True, set()),
    "hard swish after it": (lambda g, x: g.op("HardSwish", conv(g, x)), False, {"blocked-fusion"}),
    "used in float as well": (
        lambda g, x: g.op("Add", (y := conv(g, x)), g.qdq(y)),
        False,
        {"float-output", "mixed-inputs"},
    ),
    "weights of 4-bit integers": (lambda g, x: conv(g, x, int4(g)), False, {"weight-codes"}),
    "batch norm after it": (
        lambda g, x: g.op("BatchNormalization", g.qdq(conv(g, x)), *(g.constant(float32(8)) for _ in range(4))),
        False,
        {"no-quantized-kernel"},
    ),
    "transposed convolution": (
        lambda g, x: g.op("ConvTranspose", x, g.weight(codes(8, 8, 2, 2))),
        False,
        {"no-quantized-kernel"},
    ),
    "residual": (lambda g, x: g.op("Add", x, g.qdq(conv(g, x))), True, set()),
    "residual and relu": (lambda g, x: g.qdq(g.op("Relu", g.op("Add", x, x)), zero_point=0), True, set()),
    "float constant added": (lambda g, x: g.op("Add", x, g.constant(float32(1, 8, 1, 1))), False, {"mixed-inputs"}),
    "swish of one quantized": (lambda g, x: g.op("Mul", x, g.op("Sigmoid", x)), False, {"mixed-inputs"}),
    "swish of both quantized": (lambda g, x: g.op("Mul", x, g.qdq(g.op("Sigmoid", x))), True, set()),
    "concatenated with float": (
        lambda g, x: g.op("Concat", x, g.constant(float32(*X)), axis=1),
        False,
        {"mixed-inputs"},
    ),
    "mean by ReduceMean": (
        lambda g, x: g.op("ReduceMean", x, g.constant(np.array([2, 3]))),
        False,
        {"no-quantized-kernel"},
    ),
    "mean by GlobalAveragePool": (lambda g, x: g.op("GlobalAveragePool", x), True, set()),
    "padded": (lambda g, x: g.op("Pad", x, g.constant(np.array([0, 0, 1, 1] * 2))), False, {"no-quantized-kernel"}),
    "difference": (lambda g, x: g.op("Sub", x, g.qdq(conv(g, x))), False, {"no-quantized-kernel"}),
    "product": (lambda g, x: g.op("MatMul", x, g.weight(codes(6, 6), axis=1)), True, set()),
    "product with a turned weight": (
        lambda g, x: g.op("MatMul", x, g.op("Transpose", g.weight(codes(6, 6)), perm=[1, 0])),
        True,
        set(),
    ),
    "product with a float weight": (lambda g, x: g.op("MatMul", x, g.constant(float32(6, 6))), False, {"mixed-inputs"}),
    "product and bias": (
        lambda g, x: g.op("Add", g.op("MatMul", x, g.weight(codes(6, 6), axis=1)), g.constant(float32(6))),
        True,
        set(),
    ),
}


def between(write: Write) -> Any:
    g = Builder()
    return g.model(g.qdq(write(g, g.qdq("x"))), X)


@pytest.mark.parametrize("case", BETWEEN)
def test_a_node_is_named_where_and_only_where_it_is_not_fused(case: str, tmp_path: Path) -> None:
    write, fused, rules = BETWEEN[case]
    model = between(write)
    assert {finding.rule for finding in lint(model)} == rules
    onnx.save(model, tmp_path / "model.onnx")
    left = optimized_ops(tmp_path / "model.onnx")
    conversions = left["QuantizeLinear"] + left.get("DequantizeLinear", 0)
    # One of each stays: the input's and the output's.  The bias that follows a MatMul brings one more, of six numbers.
    assert (conversions <= (3 if case == "product and bias" else 2)) is fused, left


# With a float output: what becomes of a product at the end of a network.
def gemm(g: Builder, x: str, *bias: str) -> str:
    flat = g.qdq(g.op("Flatten", x))
    return g.op("Gemm", flat, g.weight(codes(10, 288)), *bias, transB=1)


ENDS: dict[str, tuple[Write, set[str], set[str]]] = {
    "gemm without bias": (gemm, set(), {"QGemm"}),
    "gemm with int32 bias": (lambda g, x: gemm(g, x, int32_bias(g, 10)), set(), {"QGemm"}),
    "gemm with float bias": (lambda g, x: gemm(g, x, g.constant(float32(10))), {"float-output"}, {"Gemm"}),
    "convolution": (conv, {"float-output"}, {"Conv"}),
    "matmul": (lambda g, x: g.op("MatMul", x, g.weight(codes(6, 6), axis=1)), set(), {"MatMulIntegerToFloat"}),
    "matmul and bias": (
        lambda g, x: g.op("Add", g.op("MatMul", x, g.weight(codes(6, 6), axis=1)), g.constant(float32(6))),
        {"matmul-bias"},
        {"Gemm"},
    ),
    "matmul with a turned weight and bias": (
        lambda g, x: g.op(
            "Add",
            g.constant(float32(6)),
            g.op("MatMul", x, g.op("Transpose", g.weight(codes(6, 6)), perm=[1, 0])),
        ),
        {"matmul-bias"},
        {"Gemm"},
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_product_with_a_float_output_is_named_if_it_runs_in_float(case: str, tmp_path: Path) -> None:
    write, rules, kernels = ENDS[case]
    g = Builder()
    model = g.model(write(g, g.qdq("x")), X)
    assert {finding.rule for finding in lint(model)} == rules
    onnx.save(model, tmp_path / "model.onnx")
    assert kernels <= set(optimized_ops(tmp_path / "model.onnx"))


def blockwise(g: Builder, shape: tuple[int, int], axis: int) -> str:
    scales = [*shape]
    scales[axis] //= 16
    packed = g.int4(codes(*shape) // 16)
    return g.op("DequantizeLinear", packed, g.constant(float32(*scales)), axis=axis, block_size=16)


WEIGHT_ONLY: dict[str, tuple[Write, set[str], set[str]]] = {
    "convolution": (lambda g, x: conv(g, x), {"weight-only"}, {"Conv", "DequantizeLinear"}),
    "gemm": (
        lambda g, x: g.op("Gemm", g.op("Flatten", x), g.weight(codes(10, 2048)), transB=1),
        {"weight-only"},
        {"Gemm", "DequantizeLinear"},
    ),
    "decoded by Cast and Mul": (
        lambda g, x: conv(
            g,
            x,
            g.op(
                "Mul",
                g.op("Cast", g.constant(codes(8, 8, 3, 3)), to=TensorProto.FLOAT),
                g.constant(float32(8, 1, 1, 1)),
            ),
        ),
        set(),
        {"Conv"},
    ),
    "blocks": (lambda g, x: g.op("MatMul", x, blockwise(g, (32, 48), 0)), set(), {"MatMulNBits"}),
    "blocks of a turned weight": (
        lambda g, x: g.op("MatMul", x, g.op("Transpose", blockwise(g, (48, 32), 1), perm=[1, 0])),
        {"transposed-blocks"},
        {"FusedMatMul", "DequantizeLinear"},
    ),
}


@pytest.mark.parametrize("case", WEIGHT_ONLY)
def test_weights_decoded_in_each_run_are_named(case: str, tmp_path: Path) -> None:
    write, rules, kernels = WEIGHT_ONLY[case]
    g = Builder()
    model = g.model(write(g, "x"), [1, 8, 8, 32])
    assert {finding.rule for finding in lint(model)} == rules
    onnx.save(model, tmp_path / "model.onnx")
    left = set(optimized_ops(tmp_path / "model.onnx"))
    assert kernels <= left
    assert ("DequantizeLinear" in left) is bool(rules)


def test_good_models_have_no_findings() -> None:
    assert lint(classifier()) == []
    assert lint(quantized_classifier()) == []


def rules(model: Any) -> list[str]:
    return [finding.rule for finding in lint(model)]


def test_signed_and_wide_activations_are_named_before_convolutions_but_signed_ones_not_before_products() -> None:
    for kind, rule in ((np.int8, "int8-activations"), (np.uint16, "wide-activations"), (np.int16, "wide-activations")):
        g = Builder()
        model = g.model(g.qdq(conv(g, g.qdq("x", 0.1, 0, kind)), 0.1, 0, kind), X)
        # the output's quantizer is read by nothing that would be slow, but 16 bits are wide wherever they are
        assert rules(model) == [rule] * (1 if kind is np.int8 else 2)
    g = Builder()
    x = g.qdq("x", 0.1, 0, np.int8)
    assert rules(g.model(g.op("MatMul", x, g.weight(codes(6, 6), axis=1)), X)) == []


def test_unsigned_and_affine_weights_are_named() -> None:
    g = Builder()
    assert rules(g.model(g.qdq(conv(g, g.qdq("x"), unsigned(g))), X)) == ["uint8-weights"]
    g = Builder()
    assert rules(g.model(g.qdq(conv(g, g.qdq("x"), g.weight(codes(8, 8, 3, 3), zero_point=3))), X)) == [
        "affine-weights"
    ]


@pytest.mark.parametrize(("kind", "rule"), [(np.uint8, []), (np.int8, ["int8-activations"])])
def test_operators_with_signed_inputs_are_named(kind: type, rule: list[str]) -> None:
    g = Builder()
    one, zero = scalar(g, 0.1), g.constant(kind(0))
    x = g.op("QuantizeLinear", "x", one, zero)
    y = g.op("QLinearConv", x, one, zero, g.constant(codes(8, 8, 1, 1)), one, g.constant(np.int8(0)), one, zero)
    found = lint(g.model(g.op("DequantizeLinear", y, one, zero), X))
    assert [finding.rule for finding in found if finding.node.startswith("qlinearconv")] == rule


def test_conv_integer_is_named() -> None:
    g = Builder()
    x = g.quantize("x")
    y = g.op("ConvInteger", x, g.constant(codes(8, 8, 1, 1)), g.constant(np.uint8(128)))
    assert rules(g.model(g.op("Cast", y, to=TensorProto.FLOAT), X)) == ["conv-integer"]


@pytest.mark.parametrize(("groups", "rule"), [(1, []), (2, ["grouped-convolution"]), (8, [])])
def test_grouped_convolutions_are_named_but_depthwise_ones_not(groups: int, rule: list[str]) -> None:
    g = Builder()
    y = g.op("Conv", g.qdq("x"), g.weight(codes(8, 8 // groups, 1, 1)), group=groups)
    assert rules(g.model(g.qdq(y), X)) == rule


@pytest.mark.parametrize(
    ("bits", "block", "level", "fractional", "rule"),
    [
        (4, 32, 4, False, []),
        (4, 32, 0, False, ["accuracy-level"]),
        (8, 32, 0, False, ["accuracy-level"]),
        (2, 64, 4, False, []),
        (2, 128, 4, False, []),
        (2, 32, 4, False, ["two-bit-groups"]),
        (2, 256, 4, False, ["two-bit-groups"]),
        (2, 64, 4, True, ["fractional-zero-points"]),
    ],
)
def test_matmul_nbits(bits: int, block: int, level: int, fractional: bool, rule: list[str]) -> None:
    g = Builder()
    blocks = 256 // block
    inputs = ["x", g.constant(np.zeros((8, blocks, block * bits // 8), np.uint8)), g.constant(float32(8, blocks))]
    if fractional:
        inputs.append(g.constant(float32(8, blocks)))
    sizes = {"K": 256, "N": 8, "bits": bits, "block_size": block, "accuracy_level": level}
    assert rules(g.model(g.op("MatMulNBits", *inputs, domain="com.microsoft", **sizes), ["N", 256])) == rule


def test_versions_that_do_not_load_are_named() -> None:
    model = classifier()
    model.ir_version, model.opset_import[0].version = 14, 27
    assert [(finding.node, finding.rule) for finding in lint(model)] == [("model", "opset"), ("model", "ir-version")]


def test_float64_and_large_int64_are_named_by_node_and_by_tensor() -> None:
    g = Builder()
    double = g.op("Cast", g.op("MatMul", g.op("Cast", "x", to=TensorProto.DOUBLE), g.constant(np.ones((6, 6)))), to=1)
    indices = g.constant(np.zeros(10_000, np.int64))
    model = g.model(g.op("Gather", double, indices, axis=3), X)
    assert [(finding.node, finding.rule) for finding in lint(model)] == [
        (indices, "large-int64"),
        ("cast_0", "float64"),
        ("matmul_1", "float64"),
    ]


def test_a_finding_reads_as_one_line_with_its_number() -> None:
    g = Builder()
    [finding] = lint(g.model(conv(g, "x"), X))
    assert isinstance(finding, Finding)
    assert str(finding) == (
        "conv_1: weight-only: its weights are decoded in each run: a depthwise Conv takes 3.2×, "
        "a Gemm 3.0× the time of float: decode by Cast and Mul, which fold when the model loads"
    )


def test_a_file_is_read_without_its_external_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(quantized_classifier(), path, save_as_external_data=True, location="data", size_threshold=0)
    (tmp_path / "data").unlink()
    assert lint(path) == []
