"""EfficientNet-Lite0 in int8, from Python: no recipe.  Any torch model and any calibration batches do.

python examples/01_classifier_in_int8.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import compress
from compress.models.load import load_model
from compress.models.source import ModelSource
from compress.passes import FoldBatchNorm, QuantizeStatic


def main(directory: Path) -> compress.Artefact:
    loaded = load_model(ModelSource("package:efficientnet-lite0"))
    task = compress.ImageClassification(loaded.preprocessor, len(loaded.labels), labels=loaded.labels)

    def batches() -> list[tuple[torch.Tensor, ...]]:
        return [(torch.from_numpy(batch.inputs),) for batch in task.calibration()]

    passes = [FoldBatchNorm(), QuantizeStatic(observer="minmax")]
    model = compress.apply(loaded.model, passes, batches, target="x86-vnni")
    artefact = compress.export(
        model, task.example(), directory, target="x86-vnni", preprocessor=loaded.preprocessor, labels=loaded.labels
    )
    measured = compress.measure(artefact, task)
    top1 = measured.scores["top1"]
    print(f"{measured.model_bytes:,} bytes, {measured.latency_ms_p50:.1f} ms")
    print(f"top-1 {top1.value:.1%} [{top1.low:.1%}, {top1.high:.1%}] of {top1.num_samples} images")
    return artefact


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name) / "artefact")
