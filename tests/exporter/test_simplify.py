"""Each rewrite changes the operators as it says, and not one number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compress.exporter.simplify import (
    clip_integers,
    drop_second_rounding,
    join_padding,
    pool_means,
    raise_quantize,
    sink_dequantize,
)
from tests.exporter.networks import operators, run
from tests.graphs import Builder

SHAPE = (2, 4, 6, 6)
X = np.random.default_rng(0).normal(scale=4, size=SHAPE).astype(np.float32)


def rewritten(g: Builder, output: str, *rules: Callable[[ir.Graph], None]) -> list[str]:
    """The operators after the rules; asserts that the numbers are those of before."""
    before = onnx.shape_inference.infer_shapes(g.model(output, SHAPE))
    model = ir.from_proto(before)
    for rule in rules:
        rule(model.graph)
    RemoveUnusedNodesPass()(model)
    after = ir.to_proto(model)
    np.testing.assert_array_equal(run(after, optimize=False, x=X), run(before, optimize=False, x=X))
    return operators(after)


def dequantize(g: Builder, codes: str, scale: float = 0.1, zero_point: int = 128) -> str:
    return g.op("DequantizeLinear", codes, g.constant(np.float32(scale)), g.constant(np.uint8(zero_point)))


@pytest.mark.parametrize(("keepdims", "rest"), [(1, []), (0, ["Flatten"])])
def test_a_mean_over_height_and_width_becomes_a_global_pool(keepdims: int, rest: list[str]) -> None:
    g = Builder()
    pooled = g.op("ReduceMean", "x", g.constant(np.array([-2, 3])), keepdims=keepdims)
    before = onnx.shape_inference.infer_shapes(g.model(pooled, SHAPE))
    model = ir.from_proto(before)
    pool_means(model.graph)
    assert operators(model) == ["GlobalAveragePool", *rest]
    np.testing.assert_allclose(run(model, x=X), run(before, x=X), rtol=1e-5, atol=1e-6)


def test_a_mean_over_other_axes_stays() -> None:
    g = Builder()
    assert rewritten(g, g.op("ReduceMean", "x", g.constant(np.array([1]))), pool_means) == ["ReduceMean"]


def padded(pads: list[int], value: float = 0.0, mode: str = "constant") -> list[str]:
    g = Builder()
    more = [g.constant(np.float32(value))] if mode == "constant" else []
    x = g.op("Pad", "x", g.constant(np.array(pads)), *more, mode=mode)
    weight = g.constant(np.full((2, 4 + pads[1] + pads[5], 3, 3), 0.125, np.float32))
    return rewritten(g, g.op("Conv", g.qdq(x), weight, pads=[1, 0, 0, 0]), join_padding)


def test_a_convolution_pads_by_itself() -> None:
    assert padded([0, 0, 1, 2, 0, 0, 3, 4]) == ["QuantizeLinear", "DequantizeLinear", "Conv"]


@pytest.mark.parametrize(
    "more",
    [{"value": 1.0}, {"mode": "reflect"}, {"pads": [0, 1, 0, 0, 0, 0, 0, 0]}, {"pads": [0, 0, -1, 0, 0, 0, 0, 0]}],
)
def test_other_padding_stays(more: dict[str, Any]) -> None:
    assert "Pad" in padded(**{"pads": [0, 0, 1, 1, 0, 0, 1, 1], **more})


@pytest.mark.parametrize(
    ("move", "attributes", "constant"),
    [
        ("Reshape", {}, np.array([2, -1])),
        ("Transpose", {"perm": [0, 2, 3, 1]}, None),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, None),
        ("Gather", {"axis": 1}, np.array(2)),
        ("Flatten", {}, None),
    ],
)
def test_rounding_moves_past_what_only_moves_values(move: str, attributes: dict[str, Any], constant: Any) -> None:
    g = Builder()
    more = [] if constant is None else [g.constant(constant)]
    moved = g.op(move, g.qdq("x"), *more, **attributes)
    assert rewritten(g, moved, sink_dequantize) == ["QuantizeLinear", move, "DequantizeLinear"]
    g = Builder()
    more = [] if constant is None else [g.constant(constant)]
    rounded = g.qdq(g.op(move, "x", *more, **attributes))
    assert rewritten(g, rounded, raise_quantize) == ["QuantizeLinear", move, "DequantizeLinear"]


def test_rounding_moves_up_past_several_moves() -> None:
    g = Builder()
    rounded = g.qdq(g.op("Flatten", g.op("Transpose", g.op("Relu", "x"), perm=[0, 2, 1, 3])))
    expected = ["Relu", "QuantizeLinear", "Transpose", "Flatten", "DequantizeLinear"]
    assert rewritten(g, rounded, raise_quantize) == expected


def test_rounding_stays_behind_a_move_that_others_read_too() -> None:
    g = Builder()
    flat = g.op("Flatten", "x")
    both = g.op("Add", g.qdq(flat), flat)
    assert rewritten(g, both, raise_quantize) == ["Flatten", "QuantizeLinear", "DequantizeLinear", "Add"]


def test_a_second_rounding_on_the_same_grid_goes() -> None:
    g = Builder()
    twice = g.qdq(g.op("Flatten", g.qdq("x")))
    rules = (sink_dequantize, drop_second_rounding)
    assert rewritten(g, twice, *rules) == ["QuantizeLinear", "Flatten", "DequantizeLinear"]


def test_a_second_rounding_on_another_grid_stays() -> None:
    g = Builder()
    twice = g.qdq(g.op("Flatten", g.qdq("x")), scale=0.2)
    assert rewritten(g, twice, sink_dequantize, drop_second_rounding).count("QuantizeLinear") == 2


def clipped(low: float, high: float, scale: float, zero_point: int, last: int = 255) -> list[str]:
    g = Builder()
    x = g.op("Clip", "x", g.constant(np.float32(low)), g.constant(np.float32(high)))
    codes = g.quantize(x, scale, zero_point)
    if last < 255:
        codes = g.op("Clip", codes, g.constant(np.uint8(0)), g.constant(np.uint8(last)))
    return rewritten(g, dequantize(g, codes, scale, zero_point), clip_integers)


def test_a_clip_goes_where_the_grid_ends_there() -> None:
    assert clipped(0, 6, 6 / 255, 0) == ["QuantizeLinear", "DequantizeLinear"]
    assert clipped(0, 6, 4 / 255, 0) == ["QuantizeLinear", "DequantizeLinear"]


def test_a_clip_inside_the_grid_becomes_one_of_integers() -> None:
    assert clipped(0, 6, 8 / 255, 0) == ["QuantizeLinear", "Clip", "DequantizeLinear"]


def test_two_clips_of_integers_become_one() -> None:
    assert clipped(0, 6, 6 / 15, 0, last=15) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    assert clipped(0, 3, 6 / 15, 0, last=15) == ["QuantizeLinear", "Clip", "DequantizeLinear"]


def test_a_relu_goes_where_zero_is_the_first_step() -> None:
    g = Builder()
    relu = g.qdq(g.op("Relu", "x"), zero_point=0)
    assert rewritten(g, relu, clip_integers) == ["QuantizeLinear", "DequantizeLinear"]
    g = Builder()
    relu = g.qdq(g.op("Relu", "x"), zero_point=3)
    assert rewritten(g, relu, clip_integers) == ["QuantizeLinear", "Clip", "DequantizeLinear"]


def test_a_relu_that_others_read_too_stays_for_them() -> None:
    g = Builder()
    relu = g.op("Relu", "x")
    both = g.op("Add", g.qdq(relu, zero_point=0), relu)
    assert sorted(rewritten(g, both, clip_integers)) == ["Add", "DequantizeLinear", "QuantizeLinear", "Relu"]


@given(
    st.floats(-5, 0), st.floats(0, 9), st.floats(1e-3, 0.2), st.integers(0, 255), st.sampled_from([15, 63, 127, 255])
)
@settings(deadline=None, max_examples=30)
def test_clipping_integers_is_clipping_before_rounding(
    low: float, high: float, scale: float, zero_point: int, last: int
) -> None:
    clipped(low, high, scale, zero_point, last)
