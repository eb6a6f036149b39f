"""ONNX files whose costs can be worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compress.targets import Target, load
from tests.graphs import Builder


def saved(model: Any, directory: Path) -> Path:
    path = directory / "model.onnx"
    onnx.save(model, path)
    return path


def conv(directory: Path, batch: int | str = "N") -> Path:
    """x [N, 3, 8, 8] → Conv 3 × 3 to 4 channels → Relu."""
    g = Builder()
    weight = g.constant(np.ones((4, 3, 3, 3), np.float32))
    return saved(g.model(g.op("Relu", g.op("Conv", "x", weight, pads=[1, 1, 1, 1])), [batch, 3, 8, 8]), directory)


def nbits(directory: Path) -> Path:
    """x [N, 64] → MatMulNBits of 4 bits to 32."""
    g = Builder()
    codes, scales = np.zeros((32, 2, 16), np.uint8), np.ones((32, 2), np.float32)
    output = g.op(
        "MatMulNBits",
        "x",
        g.constant(codes),
        g.constant(scales),
        domain="com.microsoft",
        K=64,
        N=32,
        bits=4,
        block_size=32,
        accuracy_level=4,
    )
    return saved(g.model(output, ["N", 64]), directory)


def figured(directory: Path, base: str = "generic", **figures: float | dict[str, float]) -> Target:
    """A target with these figures, by way of a file."""
    lines = [f"extends: {base}"]
    for name, value in figures.items():
        if isinstance(value, dict):
            each = ", ".join(f"{key}: {{value: {number}, source: unverified}}" for key, number in value.items())
            lines.append(f"{name}: {{{each}}}")
        else:
            lines.append(f"{name}: {{value: {value}, source: measured}}")
    path = directory / "mine.yaml"
    path.write_text("\n".join(lines) + "\n")
    return load(str(path))
