"""Weights of a graph as it multiplies with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from compress.runtime.weights import weights_of
from tests.graphs import Builder, write_artefact


class Named(Builder):
    def named(self, value: Any, name: str) -> str:
        self.constant(np.asarray(value))
        self.initializers[-1].name = name
        return name


def read(graph: Builder, output: str, shape: list[int | str], directory: Path, kind: int = 1) -> dict[str, np.ndarray]:
    artefact = write_artefact(directory, graph.model(output, shape, kind))
    return {name: weight() for name, weight in weights_of(artefact).items()}


def test_codes_of_a_convolution_are_decoded(tmp_path: Path) -> None:
    graph = Named()
    codes = graph.named(np.arange(8, dtype=np.int8).reshape(2, 4, 1, 1), "stem.weight")
    scales = graph.named(np.array([0.5, 2.0], np.float32), "stem.weight_scale")
    weight = graph.op("DequantizeLinear", codes, scales, graph.constant(np.zeros(2, np.int8)), axis=0)
    found = read(graph, graph.op("Conv", "x", weight), ["N", 4, 3, 3], tmp_path)
    expected = np.array([[0, 0.5, 1, 1.5], [8, 10, 12, 14]], np.float32).reshape(2, 4, 1, 1)
    assert list(found) == ["stem"]
    assert np.array_equal(found["stem"], expected)


@pytest.mark.parametrize(("kind", "transposed"), [("MatMul", False), ("Gemm", False), ("Gemm", True)])
def test_a_product_s_weight_has_its_outputs_first(kind: str, transposed: bool, tmp_path: Path) -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)  # 4 → 3
    graph = Named()
    stored = graph.named(weight if transposed else weight.T, "fc.weight")
    attributes = {"transB": 1} if transposed else {}
    found = read(graph, graph.op(kind, "x", stored, **attributes), ["N", 4], tmp_path)
    assert np.array_equal(found["fc"], weight)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("has_zeros", [False, True])
def test_blocks_are_decoded_as_onnxruntime_multiplies_with_them(bits: int, has_zeros: bool, tmp_path: Path) -> None:
    outputs, inputs, size = 6, 48, 32  # the last block is half empty
    random, blocks = np.random.default_rng(0), 2
    graph = Named()
    packed = graph.named(random.integers(0, 256, (outputs, blocks, size * bits // 8), np.uint8), "fc.weight")
    scales = graph.named(random.uniform(0.1, 1, outputs * blocks).astype(np.float32), "fc.weight_scale")
    given = [packed, scales]
    if has_zeros:
        zeros = random.integers(0, 256, outputs * -(-blocks * bits // 8), np.uint8)
        given.append(graph.named(zeros, "fc.weight_zero_point"))
    sizes = {"K": inputs, "N": outputs, "bits": bits, "block_size": size}
    output = graph.op("MatMulNBits", "x", *given, domain="com.microsoft", **sizes)
    [weight] = read(graph, output, ["N", inputs], tmp_path).values()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    [product] = session.run(None, {"x": np.eye(inputs, dtype=np.float32)})
    assert np.allclose(weight, product.T, atol=1e-4)


def test_dynamic_codes_are_centred_and_scaled(tmp_path: Path) -> None:
    graph = Named()
    codes = graph.named(np.array([[1, 2, 3], [4, 5, 6]], np.int8), "fc.weight")  # 2 → 3
    scales = graph.named(np.array([1.0, 0.5, 2.0], np.float32), "fc.weight_scale")
    zeros = graph.constant(np.array([0, 1, 2], np.int8))
    output = graph.op("DynamicQuantizeMatMul", "x", codes, scales, zeros, domain="com.microsoft")
    found = read(graph, output, ["N", 2], tmp_path)
    assert np.array_equal(found["fc"], np.array([[1, 4], [0.5, 2], [2, 8]], np.float32))


def test_a_tied_table_is_read_once_as_it_is_looked_up(tmp_path: Path) -> None:
    table = np.arange(10, dtype=np.float32).reshape(5, 2)
    graph = Named()
    halves = graph.named(table.astype(np.float16), "embed.weight")
    decoded = graph.op("Cast", halves, to=1)
    looked_up = graph.op("Gather", decoded, "x")
    logits = graph.op("MatMul", looked_up, graph.op("Transpose", decoded, perm=[1, 0]))
    found = read(graph, logits, ["N"], tmp_path, kind=7)
    assert list(found) == ["embed"]
    assert np.array_equal(found["embed"], table)


def test_constants_without_a_name_are_left_out(tmp_path: Path) -> None:
    graph = Named()
    output = graph.op("MatMul", "x", graph.constant(np.eye(2, dtype=np.float32)))
    assert read(graph, output, ["N", 2], tmp_path) == {}
