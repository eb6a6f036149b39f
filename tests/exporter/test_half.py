"""Float layers in float16: casts at the edges, quantized layers and decoders as they were, and what does not fit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.exporter.half import to_float16
from tests.graphs import Builder, codes


def halved(model: Any) -> Any:
    built = ir.from_proto(model)
    to_float16(built)
    proto = ir.to_proto(built)
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(model: Any, x: NDArray[np.float32]) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def floats(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_float_model_is_cast_once_at_each_edge_and_weights_take_half_the_bytes() -> None:
    g = Builder()
    weight = g.constant(floats(8, 4))
    hidden = g.op("Relu", g.op("MatMul", "x", g.constant(floats(4, 8))))
    model = g.model(g.op("MatMul", hidden, weight), [2, 4])
    half = halved(model)
    assert operators(half) == ["Cast", "MatMul", "Relu", "MatMul", "Cast"]
    assert {tensor.name: tensor.data_type for tensor in half.graph.initializer} == {
        tensor.name: onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer
    }
    assert [value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)] == [1, 1]
    assert half.graph.output[0].name == model.graph.output[0].name
    x = floats(2, 4)
    np.testing.assert_allclose(run(half, x), run(model, x), atol=0.02)


def test_a_quantized_layer_stays_as_it_is_and_a_float_one_beside_it_does_not() -> None:
    g = Builder()
    product = g.op("MatMul", g.qdq("x"), g.weight(codes(4, 8), axis=1))
    rounded = g.qdq(g.op("Relu", product))
    product = g.op("MatMul", rounded, g.weight(codes(8, 8), axis=1))  # read by a float layer
    model = g.model(g.op("Softmax", g.op("Tanh", product)), [2, 4])
    half = halved(model)
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    assert [onnx.helper.get_attribute_value(node.attribute[0]) for node in casts] == [10, 1]
    assert operators(half)[-4:] == ["Cast", "Tanh", "Softmax", "Cast"]
    assert not {10} & {tensor.data_type for tensor in half.graph.initializer}
    x = floats(2, 4)
    np.testing.assert_allclose(run(half, x), run(model, x), atol=2e-3)


def test_what_decodes_a_weight_is_cast_at_its_end() -> None:
    g = Builder()
    weight = g.op("Mul", g.op("Cast", g.constant(codes(4, 8)), to=1), g.constant(np.float32(0.1)))
    half = halved(g.model(g.op("MatMul", "x", weight), [2, 4]))
    assert Counter(operators(half)) == Counter(["Cast", "Mul", "Cast", "Cast", "MatMul", "Cast"])
    assert {tensor.data_type for tensor in half.graph.initializer} == {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT}


def test_a_weight_that_two_layers_of_different_types_read_is_there_in_both() -> None:
    g = Builder()
    shared = g.constant(np.float32(3.0))
    rounded = g.op("Add", g.qdq("x"), shared)
    half = halved(g.model(g.op("Mul", rounded, shared), [2, 4]))
    assert Counter(tensor.data_type for tensor in half.graph.initializer)[onnx.TensorProto.FLOAT16] == 1
    np.testing.assert_allclose(run(half, np.ones((2, 4), np.float32)), np.full((2, 4), 12.0), atol=0.01)


def test_bounds_end_where_float16_does() -> None:
    g = Builder()
    bounds = g.constant(np.float32(0)), g.constant(np.float32(3e38))
    half = halved(g.model(g.op("Clip", "x", *bounds), [1, 2]))
    assert run(half, np.array([[-5.0, 7.0]], np.float32)).tolist() == [[0.0, 7.0]]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            np.float32(1e6),
            r"c0, which Mul reads, reaches 1e\+06, and float16 ends at 65504: choose a target of float32",
        ),
        (np.float32(1e-12), "c0, which Mul reads, is 1e-12, which float16 has as 0: choose a target of float32"),
    ],
)
def test_a_constant_that_float16_cannot_hold_is_told(value: np.float32, told: str) -> None:
    g = Builder()
    with pytest.raises(ModelError, match=told):
        halved(g.model(g.op("Mul", "x", g.constant(value)), [1, 2]))


def test_branches_are_refused() -> None:
    g, branch = Builder(), Builder()
    branch.op("Relu", "x")
    output = onnx.helper.make_tensor_value_info("relu_0", onnx.TensorProto.FLOAT, None)
    inner = onnx.helper.make_graph(branch.nodes, "branch", [], [output])
    chosen = g.op("If", g.constant(np.bool_(True)), then_branch=inner, else_branch=inner)
    with pytest.raises(
        ModelError, match="If holds graphs, which are not written in float16: choose a target of float32"
    ):
        halved(g.model(chosen, [1, 2]))
