"""The form for compilers of QDQ graphs: floats between the two nodes, the same values; and int8 with zero point 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compress.errors import ModelError
from compress.exporter.qdq import clip_floats, make_symmetric, move_floats
from compress.models.activations import QuantizedActivation
from tests.exporter.test_half import floats, operators, run
from tests.graphs import Builder, codes


def rewritten(model: Any, symmetric: bool = False) -> Any:
    built = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    move_floats(built.graph)
    clip_floats(built.graph)
    if symmetric:
        make_symmetric(built.graph, {"x": QuantizedActivation(0.1, 128)}, "here")
    proto = ir.to_proto(built)
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto, full_check=True)
    return proto


def same(model: Any, symmetric: bool = False) -> Any:
    """The rewritten model, which gives to the bit what the first one gives."""
    after, x = rewritten(model, symmetric), 20 * floats(2, 4)
    np.testing.assert_array_equal(run(after, x), run(model, x))
    return after


def clipped(g: Builder, low: int, high: int) -> str:
    bounds = g.constant(np.uint8(low)), g.constant(np.uint8(high))
    return g.op("Clip", g.quantize("x"), *bounds)


def dequantized(g: Builder, x: str) -> str:
    return g.op("DequantizeLinear", x, g.constant(np.float32(0.1)), g.constant(np.uint8(128)))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("low", "high", "operator"), [(128, 255, "Relu"), (128, 188, "Clip"), (100, 255, "Clip")])
def test_integers_are_clipped_as_floats(low: int, high: int, operator: str, symmetric: bool) -> None:
    g = Builder()
    after = same(g.model(dequantized(g, clipped(g, low, high)), [2, 4]), symmetric)
    assert operators(after) == [operator, "QuantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize("symmetric", [False, True])
def test_integers_are_moved_as_floats(symmetric: bool) -> None:
    g = Builder()
    moved = g.op("Flatten", g.op("Transpose", g.quantize("x"), perm=[1, 0]), axis=1)
    after = same(g.model(dequantized(g, moved), [2, 4]), symmetric)
    pair = ["QuantizeLinear", "DequantizeLinear"]
    assert operators(after) == [*pair, "Transpose", *pair, "Flatten", *pair]


def test_a_clip_behind_a_move_and_a_move_behind_a_clip_become_floats_too() -> None:
    g = Builder()
    bounds = g.constant(np.uint8(128)), g.constant(np.uint8(188))
    clip = g.op("Clip", g.op("Transpose", g.quantize("x"), perm=[1, 0]), *bounds)
    after = same(g.model(dequantized(g, g.op("Flatten", clip, axis=1)), [2, 4]))
    pair = ["QuantizeLinear", "DequantizeLinear"]
    assert operators(after) == [*pair, "Transpose", "Clip", *pair, "Flatten", *pair]


def test_uint8_with_zero_in_the_middle_is_int8_with_zero_point_0() -> None:
    g = Builder()
    after = same(g.model(g.op("MatMul", g.qdq("x"), g.weight(codes(4, 8), axis=1)), [2, 4]), symmetric=True)
    points = [node.input[2] for node in after.graph.node if node.op_type.endswith("tizeLinear")]
    known = {each.name: onnx.numpy_helper.to_array(each) for each in after.graph.initializer}
    assert [known[name].dtype for name in points] == [np.int8] * 3
    assert not any(known[name].any() for name in points)


def test_a_zero_point_elsewhere_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        make_symmetric(ir.Graph([], [], nodes=[]), {"stem": QuantizedActivation(0.1, 3)}, "nvidia-t4")
    assert str(caught.value) == (
        "stem: its zero point is 3, and target nvidia-t4 runs activations with zero in the middle alone: "
        "apply quantize.static with target: nvidia-t4"
    )
