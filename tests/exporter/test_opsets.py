"""An older opset: the same values in the form that operators had then, or a message that names what it lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compress.errors import ModelError
from compress.exporter.opsets import lower
from tests.exporter.test_half import floats, operators, run
from tests.graphs import Builder


def lowered(model: Any, opset: int) -> Any:
    built = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    lower(built, opset)
    proto = ir.to_proto(built)
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == opset
    return proto


def same(model: Any, opset: int) -> Any:
    """The lowered model, which gives what the first one gives."""
    after, x = lowered(model, opset), floats(2, 3, 4)
    np.testing.assert_allclose(run(after, x), run(model, x), rtol=1e-5, atol=1e-6)
    return after


@pytest.mark.parametrize("opset", [13, 15, 17])
def test_axes_of_reductions_become_attributes(opset: int) -> None:
    g = Builder()
    mean = g.op("ReduceMean", "x", g.constant(np.array([1, 2])), keepdims=0)
    after = same(g.model(g.op("Add", mean, g.op("ReduceMax", "x", keepdims=0)), [2, 3, 4], opset=18), opset)
    assert [len(node.input) for node in after.graph.node if node.op_type != "Add"] == [1, 1]


def test_a_layer_norm_is_written_out_before_opset_17() -> None:
    g = Builder()
    norm = g.op("LayerNormalization", "x", g.constant(floats(4)), g.constant(floats(4) + 1), axis=-1, epsilon=1e-3)
    model = g.model(norm, [2, 3, 4], opset=18)
    assert operators(same(model, 17)) == ["LayerNormalization"]
    assert "LayerNormalization" not in operators(same(model, 15))


def test_equal_parts_need_no_number() -> None:
    g = Builder()
    g.nodes.append(onnx.helper.make_node("Split", ["x"], ["a", "b"], axis=2, num_outputs=2))
    after = same(g.model(g.op("Mul", "a", "b"), [2, 3, 4], opset=18), 15)
    assert [each.name for each in after.graph.node[0].attribute] == ["axis"]


def test_operators_that_only_took_more_types_since_stay() -> None:
    g = Builder()
    model = g.model(g.op("LeakyRelu", g.op("Pad", "x", g.constant(np.array([0, 0, 1, 0, 0, 1])))), [2, 3, 4], opset=18)
    assert operators(same(model, 15)) == ["Pad", "LeakyRelu"]


def test_an_operator_that_came_later_is_told() -> None:
    g = Builder()
    with pytest.raises(ModelError) as caught:
        lowered(g.model(g.op("Mish", "x"), [2, 3, 4], opset=18), 15)
    assert str(caught.value) == (
        "Mish, as the model uses it, came with opset 18, and opset 15 is asked for: "
        "write export: {opset: 18} if the target reads it, or choose another"
    )
    g = Builder()
    axes = g.constant(np.array([2]))
    with pytest.raises(ModelError, match="Pad, as the model uses it, came with opset 18"):
        lowered(g.model(g.op("Pad", "x", g.constant(np.array([1, 1])), "", axes), [2, 3, 4], opset=18), 15)
