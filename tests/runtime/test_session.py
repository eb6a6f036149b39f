"""A session predicts, in chunks where the batch is fixed, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compress.errors import ArtefactError
from compress.runtime.session import open_session, optimized_ops
from tests.graphs import Builder, classifier, codes, quantized_classifier, write_artefact

INPUTS = np.random.default_rng(0).standard_normal((7, 3, 8, 8)).astype(np.float32)


def saved(path: Path, model: Any) -> Path:
    onnx.save(model, path)
    return path


def test_a_fixed_batch_gives_what_a_free_one_gives(tmp_path: Path) -> None:
    free = open_session(saved(tmp_path / "free.onnx", classifier()), threads=1)(INPUTS)
    assert free.shape == (7, 5)
    for batch in (1, 3, 8):
        session = open_session(saved(tmp_path / f"{batch}.onnx", classifier(batch)), threads=1)
        assert session.batch_size == batch
        np.testing.assert_allclose(session(INPUTS), free, rtol=1e-5, atol=1e-6)


def test_an_artefact_opens_by_its_model(tmp_path: Path) -> None:
    artefact = write_artefact(tmp_path, classifier())
    np.testing.assert_array_equal(
        open_session(artefact, threads=1)(INPUTS), open_session(artefact.model_path, threads=1)(INPUTS)
    )


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        (np.zeros((1, 8, 8, 3), np.float32), "float32 [1, 8, 8, 3]"),
        (np.zeros((3, 8, 8), np.float32), "float32 [3, 8, 8]"),
        (np.zeros((1, 3, 8, 8), np.float64), "float64 [1, 3, 8, 8]"),
        (np.zeros((1, 3, 8, 8, 1), np.float32), "float32 [1, 3, 8, 8, 1]"),
    ],
)
def test_other_inputs_are_refused_with_both_shapes(tmp_path: Path, inputs: np.ndarray, given: str) -> None:
    path = saved(tmp_path / "model.onnx", classifier())
    with pytest.raises(ArtefactError) as caught:
        open_session(path, threads=1)(inputs)
    assert str(caught.value) == f"{path}: input 'x' is float32 [N, 3, 8, 8]: got {given}"


def test_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="needs at least one sample"):
        open_session(saved(tmp_path / "model.onnx", classifier(4)), threads=1)(INPUTS[:0])


def test_what_onnxruntime_does_not_load_is_an_artefact_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ArtefactError, match=r"broken\.onnx: onnxruntime [\d.]+ cannot load it: .*") as caught:
        open_session(broken)
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtefactError, match="no such file"):
        open_session(tmp_path / "none.onnx")


@pytest.mark.parametrize("change", [{"ir_version": 1000}, {"opset": 1000}])
def test_a_version_that_is_too_new_says_which_to_write(tmp_path: Path, change: dict[str, int]) -> None:
    model = classifier()
    if "ir_version" in change:
        model.ir_version = change["ir_version"]
    else:
        model.opset_import[0].version = change["opset"]
    with pytest.raises(ArtefactError, match=r"export with a lower opset and IR version$"):
        open_session(saved(tmp_path / "model.onnx", model))


def test_a_model_of_another_input_is_refused(tmp_path: Path) -> None:
    g = Builder()
    model = g.model(g.op("Neg", "x"), ["N", 3], kind=onnx.TensorProto.INT64)
    with pytest.raises(ArtefactError, match=r"takes x tensor\(int64\): only models of one float32 input"):
        open_session(saved(tmp_path / "model.onnx", model))


def test_optimized_ops_tell_whether_fusion_happened(tmp_path: Path) -> None:
    fused = optimized_ops(saved(tmp_path / "fused.onnx", quantized_classifier()))
    assert fused["QLinearConv"] == 1
    assert fused["QLinearGlobalAveragePool"] == 1
    assert fused["QGemm"] == 1
    assert fused["QuantizeLinear"] == 1  # the input's
    assert "Conv" not in fused

    g = Builder()
    weight_only = g.model(g.op("Conv", "x", g.weight(codes(4, 3, 3, 3))), [1, 3, 8, 8])
    left = optimized_ops(saved(tmp_path / "left.onnx", weight_only))
    assert left == {"Conv": 1, "DequantizeLinear": 1}
