"""Parameters, multiply-accumulates and bits, worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compress.errors import ArtefactError
from compress.runtime.graph import GraphCounts, count
from tests.graphs import Builder, classifier, codes, quantized_classifier


def counted(tmp_path: Path, model: Any, *shape: int) -> GraphCounts:
    onnx.save(model, tmp_path / "model.onnx")
    return count(tmp_path / "model.onnx", shape)


def test_a_classifier(tmp_path: Path) -> None:
    counts = counted(tmp_path, classifier(), 8, 3, 8, 8)
    assert counts.parameters == 3 * 4 * 9 + 4 + 4 * 5 + 5
    assert counts.macs == 8 * 8 * 4 * 27 + 4 * 5
    assert counts.operators == {"Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1}
    assert counts.initializer_bytes == 4 * counts.parameters
    assert counts.effective_bits == 32.0


def test_macs_are_of_one_sample_whatever_the_batch(tmp_path: Path) -> None:
    free = counted(tmp_path, classifier(), 1, 3, 8, 8)
    assert counted(tmp_path, classifier(batch=4), 1, 3, 8, 8).macs == free.macs
    assert counted(tmp_path, classifier(), 32, 3, 8, 8).macs == free.macs


def test_int8_weights_count_as_weights_and_their_scales_as_bytes_alone(tmp_path: Path) -> None:
    counts = counted(tmp_path, quantized_classifier(), 1, 3, 8, 8)
    assert counts.parameters == 108 + 20
    assert counts.macs == 8 * 8 * 4 * 27 + 4 * 5
    channels, grids = 4 + 5, 2 * 4  # each with a float32 scale and a zero point of one byte; a grid is written twice
    assert counts.initializer_bytes == 108 + 20 + (channels + grids) * 5
    assert counts.effective_bits == pytest.approx(8 * 213 / 128)


def test_weights_decoded_from_a_packed_table_count_as_decoded(tmp_path: Path) -> None:
    g = Builder()
    packed = g.constant(np.arange(4 * 27 // 2, dtype=np.uint8))
    table = g.constant(np.stack([np.arange(256) % 16 - 8, np.arange(256) // 16 - 8], 1).astype(np.int8))
    pairs = g.op("Gather", table, g.op("Cast", packed, to=onnx.TensorProto.INT32))
    weight = g.op("Reshape", pairs, g.constant(np.array([4, 3, 3, 3])))
    decoded = g.op("DequantizeLinear", weight, g.constant(np.full(4, 0.1, np.float32)), axis=0)
    counts = counted(tmp_path, g.model(g.op("Conv", "x", decoded), ["N", 3, 8, 8]), 1, 3, 8, 8)
    assert counts.parameters == 108
    assert counts.macs == 6 * 6 * 4 * 27
    assert counts.initializer_bytes == 54 + 512 + 4 * 8 + 4 * 4


def test_int4_takes_half_a_byte(tmp_path: Path) -> None:
    g = Builder()
    weight = g.op("DequantizeLinear", g.int4(codes(4, 3, 3, 3) // 16), g.constant(np.full(4, 0.1, np.float32)), axis=0)
    counts = counted(tmp_path, g.model(g.op("Conv", "x", weight), ["N", 3, 8, 8]), 1, 3, 8, 8)
    assert (counts.parameters, counts.initializer_bytes) == (108, 54 + 16)
    assert counts.effective_bits == pytest.approx(8 * 70 / 108)


@pytest.mark.parametrize(
    ("write", "macs", "parameters"),
    [
        (lambda g: g.op("MatMul", "x", g.constant(np.ones((6, 10), np.float32))), 4 * 6 * 10, 60),
        (lambda g: g.op("MatMul", "x", g.op("Transpose", "x", perm=[0, 2, 1])), 4 * 4 * 6, 0),
        (lambda g: g.op("Einsum", "x", "x", equation="bij,bkj->bik"), 4 * 4 * 6, 0),
        (lambda g: g.op("Einsum", "x", "x", equation="...ij,...kj->...ik"), 4 * 4 * 6, 0),
        (lambda g: g.op("Add", "x", g.constant(np.ones((4, 6), np.float32))), 0, 24),
        (lambda g: g.op("Mul", "x", g.constant(np.float32(0.5))), 0, 0),
    ],
)
def test_products_by_hand(tmp_path: Path, write: Any, macs: int, parameters: int) -> None:
    g = Builder()
    counts = counted(tmp_path, g.model(write(g), ["N", 4, 6]), 2, 4, 6)
    assert (counts.macs, counts.parameters) == (macs, parameters)


def test_depthwise_grouped_and_transposed_convolutions(tmp_path: Path) -> None:
    g = Builder()
    y = g.op("Conv", "x", g.constant(np.ones((6, 1, 3, 3), np.float32)), group=6, pads=[1, 1, 1, 1])
    y = g.op("Conv", y, g.constant(np.ones((4, 3, 1, 1), np.float32)), group=2)
    y = g.op("ConvTranspose", y, g.constant(np.ones((4, 5, 2, 2), np.float32)), strides=[2, 2])
    counts = counted(tmp_path, g.model(y, ["N", 6, 8, 8]), 1, 6, 8, 8)
    assert counts.macs == 64 * 6 * 9 + 64 * 4 * 3 + 64 * 4 * 5 * 4


def test_operators_with_integer_kernels(tmp_path: Path) -> None:
    g = Builder()
    one, zero = g.constant(np.float32(0.1)), g.constant(np.uint8(0))
    x = g.op("QuantizeLinear", "x", one, zero)
    conv = (x, one, zero, g.constant(codes(4, 3, 3, 3)), one, g.constant(np.int8(0)), one, zero)
    y = g.op("QLinearConv", *conv, g.constant(np.zeros(4, np.int32)))
    y = g.op("DequantizeLinear", y, one, zero)
    counts = counted(tmp_path, g.model(y, ["N", 3, 8, 8]), 1, 3, 8, 8)
    assert (counts.macs, counts.parameters) == (36 * 4 * 27, 108 + 4)


def test_matmul_nbits_counts_what_it_unpacks(tmp_path: Path) -> None:
    g = Builder()
    packed, scales = g.constant(np.zeros((16, 2, 16), np.uint8)), g.constant(np.ones((16, 2), np.float32))
    y = g.op("MatMulNBits", "x", packed, scales, domain="com.microsoft", K=64, N=16, bits=4, block_size=32)
    counts = counted(tmp_path, g.model(y, ["N", 3, 64]), 1, 3, 64)
    assert (counts.macs, counts.parameters) == (3 * 64 * 16, 64 * 16)
    assert counts.effective_bits == 4 + 1  # a float32 scale for 32 weights is one bit a weight


def test_a_shape_that_inference_leaves_open_is_read_off_a_run(tmp_path: Path) -> None:
    g = Builder()
    y = g.op("Gelu", "x", domain="com.microsoft")  # of which onnx's inference knows nothing
    y = g.op("MatMul", y, g.constant(np.ones((5, 7), np.float32)))
    counts = counted(tmp_path, g.model(y, ["N", 4, 5]), 3, 4, 5)
    assert (counts.macs, counts.parameters) == (4 * 5 * 7, 35)


def test_external_weights_count_without_being_read(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "one.onnx")
    onnx.save(
        classifier(), tmp_path / "two.onnx", save_as_external_data=True, location="two.onnx.data", size_threshold=0
    )
    (tmp_path / "two.onnx.data").unlink()
    assert count(tmp_path / "one.onnx", (1, 3, 8, 8)) == count(tmp_path / "two.onnx", (1, 3, 8, 8))


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtefactError, match="not an ONNX model"):
        count(tmp_path / "broken.onnx", (1, 3, 8, 8))
    for shape in ((1, 3, 8), (1, 1, 8, 8)):
        with pytest.raises(ArtefactError, match="takes inputs"):
            counted(tmp_path, classifier(), *shape)
