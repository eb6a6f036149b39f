"""The file holds what it needs, under short names, and the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compress.exporter import tidy as tidy_module
from compress.exporter.build import build
from compress.exporter.tidy import write
from tests.exporter.networks import (
    GENERIC,
    STATIC,
    Network,
    inputs,
    quantize_activations,
    quantize_weights,
    run,
    seeded,
)


def written(model: nn.Module, path: Path, version: str = "1") -> onnx.ModelProto:
    write(build(model, (torch.from_numpy(inputs(1)),), GENERIC), path, GENERIC, version)
    return onnx.load(path)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tidy") / "model.onnx"
    written(quantize_activations(quantize_weights(seeded(Network))), path)
    return path


def test_the_same_model_gives_the_same_bytes(quantized: Path, tmp_path: Path) -> None:
    written(quantize_activations(quantize_weights(seeded(Network))), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == quantized.read_bytes()


def test_nothing_is_there_that_is_not_needed(quantized: Path) -> None:
    model = onnx.load(quantized)
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read
    assert not model.metadata_props
    assert not model.graph.value_info
    assert not [node for node in model.graph.node if node.metadata_props or node.doc_string]
    assert not model.functions
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 21)]
    assert (model.ir_version, model.producer_name, model.producer_version) == (10, "compress", "1")


def test_default_attributes_are_left_out(quantized: Path) -> None:
    for node in onnx.load(quantized).graph.node:
        names = {attribute.name for attribute in node.attribute}
        if node.op_type == "QuantizeLinear":
            assert not names
        if node.op_type == "Conv":
            assert names <= {"kernel_shape", "strides", "pads", "dilations", "group"}


def test_parameters_and_their_operators_keep_their_names(quantized: Path) -> None:
    model = onnx.load(quantized)
    assert {"stem.weight", "stem.weight_scale", "stem.bias", "head.weight"} <= {t.name for t in model.graph.initializer}
    assert [n.name for n in model.graph.node if n.op_type == "Conv"] == ["stem", "depthwise", "pointwise"]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["pixel_values", "logits"]


def test_a_parameter_may_be_named_like_a_value(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v0, self.c0 = nn.Parameter(torch.rand(1, 3)), nn.Parameter(torch.rand(3))

        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) * self.v0 + self.c0

    model = seeded(Odd)
    proto = written(model, tmp_path / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    with torch.no_grad():
        expected = model(torch.from_numpy(inputs())).numpy()
    np.testing.assert_allclose(run(proto, pixel_values=inputs()), expected, rtol=1e-5, atol=1e-6)


def test_a_static_target_has_one_size_for_all(tmp_path: Path) -> None:
    write(build(seeded(Network), (torch.from_numpy(inputs(1)),), STATIC), tmp_path / "m.onnx", STATIC, "1")
    model = onnx.load(tmp_path / "m.onnx")
    assert [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 16, 16]
    assert (model.ir_version, model.opset_import[0].version) == (9, 19)


def test_weights_that_one_file_cannot_hold_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy_module, "LARGEST_FILE_BYTES", 1000)
    model = seeded(Network)
    path = tmp_path / "model.onnx"
    written(model, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    with torch.no_grad():
        expected = model(torch.from_numpy(inputs())).numpy()
    np.testing.assert_allclose(run(onnx.load(path), pixel_values=inputs()), expected, rtol=1e-5, atol=1e-5)
