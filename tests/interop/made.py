"""Artefacts with random weights, what is fed to their graphs, and the logits that onnxruntime in Python makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import compress
from compress.data.preprocess import Preprocessor
from compress.passes import FoldBatchNorm, QuantizeStatic
from compress.recipe import parse
from tests.nets import ConvNet

INPUT = Preprocessor(resize=8, crop=(8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
LABELS = ("ant", "bee", "cow", "dog", "elk")
IDS = (5, 70, 107, 114, 50, 66)
RECIPE = """
name: tiny
model: random:tiny-gemma3
task:
  translation: {{pairs: [en-fr], shots: "demo[0:1]", num_likelihood: 1, num_translations: 1, max_new_tokens: 4}}
passes: {passes}
target: {target}
"""
FLOAT, LINEAR = "[]", "[{quantize.weights: {num_bits: 4, strategy: group, group_size: 16}}]"
EMBEDDING = (
    LINEAR[:-1] + ', {quantize.weights: {targets: ["role:embedding"], num_bits: 4, strategy: group, group_size: 16}}]'
)


def classifier(directory: Path, target: str = "generic") -> Path:
    """int8, weights and activations; images of 8 × 8 pixels, five labels."""
    torch.manual_seed(0)
    model = ConvNet().eval()
    images = torch.randn(16, 3, 8, 8)
    changed = compress.apply(model, [FoldBatchNorm(), QuantizeStatic()], lambda: [(images,)], target=target)
    compress.export(changed, images[:1], directory, target=target, preprocessor=INPUT, labels=LABELS)
    return directory


def decoder(folder: Path, passes: str, target: str = "generic") -> Path:
    compress.run(parse(RECIPE.format(passes=passes, target=target)), output=folder)
    return folder / "tiny" / "artefact"


def fed(directory: Path) -> dict[str, np.ndarray]:
    """What the graph is fed: images of fixed noise, or a prompt with nothing before it."""
    given: dict[str, Any] = {
        "input_ids": [IDS],
        "attention_mask": [[1] * len(IDS)],
        "position_ids": [[*range(len(IDS))]],
    }
    feeds = {}
    for one in session(directory).get_inputs():
        if one.name in given:
            feeds[one.name] = np.array(given[one.name], np.int64)
        elif one.name.startswith("past_key_values."):
            feeds[one.name] = np.zeros((1, one.shape[1], 0, one.shape[3]), np.float32)
        else:
            feeds[one.name] = np.random.default_rng(0).standard_normal((1, *one.shape[1:])).astype(np.float32)
    return feeds


def expected(directory: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    [logits] = session(directory).run(["logits"], feeds)
    return np.array(logits)


def session(directory: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])


def as_json(feeds: dict[str, np.ndarray]) -> str:
    """By name: type, dims and data, flat."""
    return json.dumps(
        {
            name: {"type": str(value.dtype), "dims": list(value.shape), "data": value.ravel().tolist()}
            for name, value in feeds.items()
        }
    )
