"""Convolutions of images, rewritten for the kernel of four channels: the same integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compress.exporter.stem import Window, widen_stems
from compress.runtime.session import optimized_ops
from tests.exporter.networks import operators, run
from tests.graphs import Builder


def stem(
    size: int, stride: int, pads: list[int], width: int, channels: int = 3, per_channel: bool = True
) -> onnx.ModelProto:
    """x [N, channels, 17, width] → quantized convolution to 5 channels.  Scales are powers of two: sums are exact."""
    g, random = Builder(), np.random.default_rng(0)
    x = g.qdq("x", scale=0.5, zero_point=117)
    scales = (0.25 * 2.0 ** np.arange(5)).astype(np.float32) if per_channel else np.float32(0.25)
    axis = {"axis": 0} if per_channel else {}
    codes = g.constant(random.integers(-16, 16, (5, channels, size, size)).astype(np.int8))
    weight = g.op("DequantizeLinear", codes, g.constant(scales), **axis)
    bias = g.constant(random.integers(-500, 500, 5).astype(np.int32))
    bias = g.op("DequantizeLinear", bias, g.constant(np.float32(0.5) * scales), **axis)
    y = g.op("Conv", x, weight, bias, pads=pads, strides=[stride, stride], kernel_shape=[size, size])
    model = g.model(g.qdq(y, scale=64.0, zero_point=120), ["N", channels, 17, width])
    return onnx.shape_inference.infer_shapes(model)


def widened(model: onnx.ModelProto, path: Path) -> list[str]:
    """The operators after the rewrite; asserts that the numbers are those of before, and that all is fused."""
    after = ir.from_proto(model)
    widen_stems(after.graph)
    RemoveUnusedNodesPass()(after)
    _, channels, height, width = (size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim)
    x = np.random.default_rng(1).normal(scale=30, size=(2, channels, height, width)).astype(np.float32)
    expected = run(model, optimize=False, x=x)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(run(after, optimize=False, x=x), expected)
    np.testing.assert_array_equal(run(after, x=x), expected)
    ir.save(after, path)
    left = optimized_ops(path)
    assert left["QLinearConv"] == 1
    assert left["QuantizeLinear"] == left["DequantizeLinear"] == 1
    return operators(after)


@pytest.mark.parametrize(
    ("size", "stride", "pads"),
    [
        (3, 2, [1, 1, 1, 1]),  # torch's
        (3, 2, [0, 0, 1, 1]),  # TensorFlow's SAME
        (7, 2, [3, 3, 3, 3]),
        (4, 4, [0, 0, 0, 0]),
        (8, 8, [0, 0, 0, 0]),
        (1, 2, [0, 0, 0, 0]),
        (5, 4, [2, 2, 2, 2]),
    ],
)
def test_four_pixels_are_read_as_one(size: int, stride: int, pads: list[int], tmp_path: Path) -> None:
    found = widened(stem(size, stride, pads, 16), tmp_path / "m.onnx")
    assert "Reshape" in found
    wide = [node for node in onnx.load(tmp_path / "m.onnx").graph.node if node.op_type == "Conv"]
    [kernel] = [list(a.ints) for a in wide[0].attribute if a.name == "kernel_shape"]
    assert kernel[0] == size
    assert kernel[1] < size or size == 1


def test_also_with_one_scale_for_all_and_one_channel(tmp_path: Path) -> None:
    assert "Reshape" in widened(stem(3, 2, [1, 1, 1, 1], 16, per_channel=False), tmp_path / "m.onnx")
    assert "Reshape" in widened(stem(3, 2, [1, 1, 1, 1], 16, channels=1), tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("size", "stride", "pads", "width"),
    [
        (3, 1, [1, 1, 1, 1], 16),  # stride 1: too many multiplications
        (3, 2, [1, 1, 1, 1], 18),  # a row is no multiple of four pixels
        (3, 3, [0, 0, 0, 0], 12),
    ],
)
def test_else_a_channel_of_zeros_is_added(size: int, stride: int, pads: list[int], width: int, tmp_path: Path) -> None:
    found = widened(stem(size, stride, pads, width), tmp_path / "m.onnx")
    assert found.count("Pad") == 2
    assert "Reshape" not in found


def test_four_channels_are_left_alone(tmp_path: Path) -> None:
    model = stem(3, 2, [1, 1, 1, 1], 16, channels=4)
    assert widened(model, tmp_path / "m.onnx") == operators(model)


def test_windows_worked_by_hand() -> None:
    # Outputs 0 and 1 begin at pixels −1 and 1, the last pixel read is 3: pixels of four −1 and 0.
    window = Window(size=3, stride=2, pad=1, width=16, out=8)
    assert window.starts == [-1, 1]
    assert window.widened() == Window(size=2, stride=1, pad=1, width=4, out=4)
    assert window.pad_behind == 0
    # Without padding in front they begin at 0 and 2 and read up to 4.
    assert Window(3, 2, 0, 16, 8).widened() == Window(2, 1, 0, 4, 4)
    assert Window(16, 16, 0, 224, 14).widened() == Window(4, 4, 0, 56, 14)
