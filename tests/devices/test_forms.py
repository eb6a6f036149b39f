"""One recipe, other targets: each artefact in the form that its target takes, and clean; and what is not, told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

import compress
from compress.cli.devices import checked
from compress.devices.check import check
from compress.exporter.build import build
from compress.exporter.parity import HALF_LIMIT
from compress.exporter.tidy import write
from compress.models.load import load_model
from compress.models.source import ModelSource
from compress.passes import FoldBatchNorm, Pass, QuantizeStatic
from compress.runtime.session import open_session
from compress.targets import load
from compress.tasks.image_classification import ImageClassification
from tests.exporter.networks import Network, exported, group_weight, inputs, logits, seeded

SNAPSHOTS = Path(__file__).parent.parent / "snapshots" / "devices"
STATIC = QuantizeStatic(observer="minmax")
# By target: its float type in files, opset, whether a batch is fixed, and the type of quantized activations.
FORMS = {
    "x86-avx2": ("FLOAT", 21, False, "UINT8"),
    "ascend-310p": ("FLOAT16", 15, True, "UINT8"),
    "rk3588": ("FLOAT16", 19, True, "UINT8"),
    "nvidia-t4": ("FLOAT16", 19, False, "INT8"),
}
# Those that take the artefact of x86-avx2 as it is.
ALIKE = ("x86-vnni", "rpi5", "android-arm64", "web", "generic")
TWINS = {"ascend-310p": ("ascend-310b",), "nvidia-t4": ("nvidia-a100", "nvidia-h100"), "x86-avx2": ALIKE}


def kinds(model: Any) -> set[str]:
    return {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in model.graph.initializer}


def clean(path: Path, *targets: str) -> None:
    for name in targets:
        assert [str(each) for each in check(path, load(name)) if not each.is_note] == [], name


@pytest.mark.parametrize("name", ["ascend-310p", "nvidia-t4"])
def test_a_float_network_is_float16_inside_and_the_same_function(name: str, tmp_path: Path) -> None:
    path, target, model = tmp_path / "model.onnx", load(name), seeded(Network)
    write(build(model, (torch.from_numpy(inputs(1)),), target), path, target, "0")
    assert kinds(onnx.load(path)) <= {"FLOAT16", "INT64"}
    clean(path, name)
    found = np.concatenate([open_session(path)(row[None]) for row in inputs()])
    wanted = logits(model)
    assert 0 < np.abs(found - wanted).max() < HALF_LIMIT * np.abs(wanted).max()


def test_tensorrt_gets_int8_without_zero_points_and_a_float_bias(tmp_path: Path) -> None:
    path, target = tmp_path / "model.onnx", load("nvidia-t4")
    batches = [(torch.from_numpy(inputs()),)]
    model = compress.apply(seeded(Network), [STATIC], lambda: batches, target=target)
    write(build(model, (torch.from_numpy(inputs(1)),), target), path, target, "0")
    proto = onnx.load(path)
    assert "INT32" not in kinds(proto)
    assert "UINT8" not in kinds(proto)
    assert sum(node.op_type == "Relu" for node in proto.graph.node) == 2
    clean(path, "nvidia-t4", "nvidia-a100", "nvidia-h100")
    np.testing.assert_allclose(open_session(path)(inputs()), logits(model), atol=0.05)


def test_weights_of_four_bits_on_an_int8_processor_are_told_whole(tmp_path: Path, monkeypatch: Any) -> None:
    onnx.save(exported(Network, group_weight, 8), tmp_path / "w4a8.onnx")
    monkeypatch.chdir(tmp_path)
    told, refused = checked([Path("w4a8.onnx")], ["rk3588"], as_json=False)
    assert refused
    assert told + "\n" == (SNAPSHOTS / "w4a8-on-rk3588.txt").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("form", ["lite0-w8a8", "lite0-float", "resnet8-w8a8"])
def test_each_target_gets_its_form_of_three_artefacts(form: str, name: str, tmp_path: Path) -> None:
    network, precision = form.split("-")
    source = "package:efficientnet-lite0" if network == "lite0" else f"cifar:{network}"
    loaded = load_model(ModelSource(source, weights=None if network == "lite0" else "random"))
    images = real_images(loaded) if network == "lite0" else noise()
    passes: list[Pass] = [FoldBatchNorm(), *([STATIC] if precision == "w8a8" else [])]
    model = compress.apply(loaded.model, passes, lambda: [(torch.from_numpy(images),)], target=name)
    artefact = compress.export(model, images[:1], tmp_path / "artefact", target=name, verify_inputs=[images])
    proto = onnx.load(artefact.model_path)
    floats, opset, fixed, activations = FORMS[name]
    assert proto.opset_import[0].version == opset
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value") == fixed
    if precision == "float":
        assert kinds(proto) - {"INT64"} == {floats}
    else:
        assert {"INT8", activations} <= kinds(proto) <= {"INT8", activations, "INT32", "INT64", "FLOAT", "FLOAT16"}
    clean(artefact.directory, name, *TWINS.get(name, ()))


def real_images(loaded: Any) -> NDArray[np.float32]:
    task = ImageClassification(loaded.preprocessor, len(loaded.labels), labels=loaded.labels)
    found: NDArray[np.float32] = next(iter(task.calibration())).inputs[:4]
    return found


def noise() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
