"""Tiny ONNX models of known size, and a task whose scores can be worked by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.runtime.artefact import Artefact, write_manifest
from compress.tasks.base import Batch, Figure, Float, Scores


class Builder:
    """Writes a graph node by node; the model's input is 'x'."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def int4(self, values: NDArray[np.int8]) -> str:
        name = f"c{len(self.initializers)}"
        flat = values.flatten().tolist()
        self.initializers.append(helper.make_tensor(name, TensorProto.INT4, values.shape, flat))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def quantize(self, x: str, scale: float = 0.1, zero_point: int = 128, kind: type = np.uint8) -> str:
        return self.op("QuantizeLinear", x, self.constant(np.float32(scale)), self.constant(kind(zero_point)))

    def qdq(self, x: str, scale: float = 0.1, zero_point: int = 128, kind: type = np.uint8) -> str:
        codes = self.quantize(x, scale, zero_point, kind)
        return self.op("DequantizeLinear", codes, self.constant(np.float32(scale)), self.constant(kind(zero_point)))

    def weight(self, codes: NDArray[Any], axis: int = 0, zero_point: int = 0) -> str:
        """A per-channel DequantizeLinear of stored codes."""
        size = codes.shape[axis]
        scales, zeros = np.full(size, 0.01, np.float32), np.full(size, zero_point, codes.dtype)
        named = self.constant(codes), self.constant(scales), self.constant(zeros)
        return self.op("DequantizeLinear", *named, axis=axis)

    def model(self, output: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT, opset: int = 21) -> Any:
        inputs = [helper.make_tensor_value_info("x", kind, shape)]
        outputs = [helper.make_tensor_value_info(output, kind, None)]
        graph = helper.make_graph(self.nodes, "graph", inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def codes(*shape: int) -> NDArray[np.int8]:
    """The same int8 numbers in each run."""
    return np.random.default_rng(0).integers(-100, 100, shape).astype(np.int8)


def classifier(batch: int | str = "N", noise: float = 0.0) -> Any:
    """x [N, 3, 8, 8] → Conv 3×3, 3 → 4 channels → global mean → Gemm → 5 logits.

    Parameters 108 + 4 + 20 + 5 = 137; multiply-accumulates 8·8·4·27 + 4·5 = 6932.
    """
    g, random = Builder(), np.random.default_rng(0)
    kernel = random.standard_normal((4, 3, 3, 3)).astype(np.float32)
    matrix = random.standard_normal((5, 4)).astype(np.float32)
    matrix += noise * np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    y = g.op("Conv", "x", g.constant(kernel), g.constant(np.zeros(4, np.float32)), pads=[1, 1, 1, 1])
    y = g.op("Flatten", g.op("GlobalAveragePool", y))
    logits = g.op("Gemm", y, g.constant(matrix), g.constant(np.zeros(5, np.float32)), transB=1)
    return g.model(logits, [batch, 3, 8, 8])


def quantized_classifier() -> Any:
    """`classifier` with other numbers, every operator in int8."""
    g = Builder()
    x = g.qdq("x")
    x = g.qdq(g.op("Conv", x, g.weight(codes(4, 3, 3, 3)), pads=[1, 1, 1, 1]))
    x = g.qdq(g.op("GlobalAveragePool", x))
    x = g.qdq(g.op("Flatten", x))
    return g.model(g.op("Gemm", x, g.weight(codes(5, 4)), transB=1), ["N", 3, 8, 8])


def write_artefact(directory: Path, model: Any, scores: Scores | None = None, **more: Any) -> Artefact:
    """An artefact with this model, and a config.json beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(model, directory / "model.onnx")
    (directory / "config.json").write_text('{"id2label": {"0": "cat"}}\n')
    return write_manifest(
        directory,
        {
            "lock": {"recipe": {"name": "tiny"}, "seed": 0, "evaluation_sha256": "e" * 64},
            "model": {"description": "a tiny classifier", "random_weights": False, "parameters": 137},
            "target": "generic",
            "quantization": {"weights": {}, "activations": 0, "effective_bits": 32.0},
            "scores": scores or {},
            **more,
        },
    )


@dataclass(frozen=True)
class FakeTask:
    """A tasks.base.Task of 20 fixed inputs; labels are what `classifier` says, one more for the last five."""

    name: str = "fake"
    fingerprint: str = "e" * 64

    def evaluation(self) -> Iterator[Batch]:
        inputs = np.random.default_rng(7).standard_normal((20, 3, 8, 8)).astype(np.float32)
        session = _reference()
        labels = session.run(None, {"x": inputs})[0].argmax(1).astype(np.int64)
        labels[15:] = (labels[15:] + 1) % 5
        for start in range(0, 20, 8):
            yield Batch(inputs[start : start + 8], labels[start : start + 8])

    def calibration(self) -> Iterator[Batch]:
        return self.evaluation()

    def example(self) -> Float:
        return next(self.evaluation()).inputs[:1]

    def score(self, outputs: Float, labels: NDArray[np.int64]) -> Scores:
        right = outputs.argmax(1) == labels
        return {"top1": Figure(float(right.mean()), 0.5, 0.9, len(labels))}

    def compare(self, outputs: Float, reference: Float, labels: NDArray[np.int64]) -> Scores:
        return {"agreement": Figure(float((outputs.argmax(1) == reference.argmax(1)).mean()), 0.8, 1.0, len(labels))}

    def fingerprints(self) -> dict[str, str]:
        return {"evaluation": self.fingerprint, "calibration": "c" * 64}


def _reference() -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(classifier().SerializeToString(), providers=["CPUExecutionProvider"])
