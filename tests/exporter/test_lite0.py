"""EfficientNet-Lite0 with its real weights: sizes, kernels and no slow path, in all three forms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import compress
from compress.exporter.lint import lint
from compress.models.load import load_model
from compress.models.source import ModelSource
from compress.passes import FoldBatchNorm, Pass, QuantizeStatic, QuantizeWeights
from compress.runtime.session import optimized_ops
from compress.tasks.image_classification import ImageClassification

SMALL = QuantizeWeights(
    num_bits=4, ignore=("role:first", "role:depthwise"), strategy="group", group_size=16, group_scales="integer"
)
EIGHT = QuantizeWeights(num_bits=8, targets=("role:first", "role:depthwise"))
STATIC = QuantizeStatic(observer="minmax")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("passes", "most_bytes"),
    [((STATIC,), 4_850_000), ((SMALL, EIGHT), 2_850_000), ((SMALL, EIGHT, STATIC), 2_850_000)],
    ids=["w8a8", "w4", "w4a8"],
)
def test_forms(passes: tuple[Pass, ...], most_bytes: int, tmp_path: Path) -> None:
    loaded = load_model(ModelSource("package:efficientnet-lite0"))
    task = ImageClassification(loaded.preprocessor, len(loaded.labels), labels=loaded.labels)
    images = next(iter(task.calibration())).inputs[:8]
    model: nn.Module = compress.apply(
        loaded.model, [FoldBatchNorm(), *passes], lambda: [(torch.from_numpy(images),)], target="x86-vnni"
    )
    artefact = compress.export(model, images[:1], tmp_path / "a", target="x86-vnni", verify_inputs=[images])
    assert artefact.model_bytes < most_bytes
    assert lint(artefact.model_path) == []
    kernels = optimized_ops(artefact.model_path)
    if STATIC in passes:
        assert (kernels["QLinearConv"], kernels["QLinearAdd"], kernels["QGemm"]) == (49, 9, 1)
        assert kernels["QuantizeLinear"] == kernels["QLinearGlobalAveragePool"] == 1
        assert not {"Conv", "Gemm", "DequantizeLinear", "Clip"} & set(kernels)
    else:
        assert kernels["Conv"] == 49
        assert not {"QuantizeLinear", "DequantizeLinear", "Cast", "Mul", "Gather"} & set(kernels)
