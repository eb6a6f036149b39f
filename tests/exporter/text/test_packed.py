"""Codes as the low-bit kernels read them, whichever way they are looked up."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnxruntime
import pytest
import torch

from compress.exporter.nodes import attribute
from compress.exporter.text import packed
from compress.exporter.text.builder import Builder, serialized
from compress.exporter.text.linear import Layers
from compress.exporter.text.packed import WIDE, codes_of_bytes, kernel_bits, kernel_block, pack_weight
from compress.exporter.text.weightfile import WeightFile
from compress.models.quantized import set_weight
from compress.numerics.weight import QuantizedWeight, code_range


@pytest.mark.parametrize("by_words", [False, True])
@pytest.mark.parametrize("num_bits", range(2, 9))
@pytest.mark.parametrize("columns", [96, 128, 72])
def test_every_width_is_decoded_to_its_kernel(
    num_bits: int, columns: int, by_words: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "LARGE", 1 if by_words else 1 << 30)
    low, high = code_range(num_bits)
    codes = torch.randint(low, high + 1, (6, columns), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    with WeightFile(tmp_path) as file:
        builder = Builder(file)
        found = pack_weight(builder, "w", QuantizedWeight(codes, torch.ones(6, 1), None, None, num_bits, None))
        assert found is not None
        builder.output(found.codes, "codes", ir.DataType.UINT8, (6, found.blocks, found.block * found.bits // 8))
    (tmp_path / "model.onnx").write_bytes(serialized(builder.model(), "test"))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    stored = session.run(None, {})[0].reshape(6, -1)
    values = codes_of_bytes(found.bits)[stored].reshape(6, -1).astype(int) - 2 ** (found.bits - 1)
    assert values[:, :columns].tolist() == codes.tolist()
    assert not values[:, columns:].any()


@pytest.mark.parametrize(
    ("num_bits", "columns", "group", "block", "bits"),
    [
        (2, 256, None, 128, 2),
        (2, 256, 256, 128, 2),
        (2, 192, None, 64, 2),
        (2, 256, 64, 64, 2),
        (2, 256, 32, 32, 4),  # no fast kernel of 2 bits
        (4, 256, 128, 128, 4),
        (3, 512, 256, 128, 4),
        (4, 256, 64, 32, 4),
        (4, 256, None, 32, 4),  # a scale a row, and activations in finer blocks
        (8, 256, 128, 32, 8),
        (4, 256, 24, None, 4),
    ],
)
def test_groups_become_blocks_that_a_kernel_has(
    num_bits: int, columns: int, group: int | None, block: int | None, bits: int
) -> None:
    groups = 1 if group is None else -(-columns // group)
    codes = torch.zeros(2, columns, dtype=torch.int8)
    assert kernel_block(QuantizedWeight(codes, torch.ones(2, groups), None, None, num_bits, group)) == block
    assert block is None or kernel_bits(num_bits, block) == bits


@pytest.mark.parametrize(
    ("num_bits", "midrise", "affine"),
    [(2, True, False), *((bits, False, affine) for bits in (2, 3, 4) for affine in (False, True))],
)
def test_products_in_wide_blocks_are_those_of_the_weight(
    num_bits: int, midrise: bool, affine: bool, tmp_path: Path
) -> None:
    random, (rows, columns, group) = torch.Generator().manual_seed(0), (16, 512, 256)
    low, high = code_range(num_bits)
    codes = torch.randint(low, high + 1, (rows, columns), dtype=torch.int8, generator=random)
    scales = torch.rand(rows, 2, generator=random).half().float() + 0.5
    zeros = torch.randint(low, high + 1, (rows, 2), dtype=torch.int8, generator=random) if affine else None
    weight = QuantizedWeight(codes, scales, zeros, None, num_bits, group, midrise=midrise)
    linear = torch.nn.Linear(columns, rows, bias=False)
    set_weight(linear, weight)
    with WeightFile(tmp_path) as file:
        builder = Builder(file)
        x = builder.input("x", ir.DataType.FLOAT, (1, 3, columns))
        y = Layers(builder, torch.nn.Sequential(linear)).linear(linear, x)
        builder.output(y, "y", ir.DataType.FLOAT, (1, 3, rows))
    (tmp_path / "model.onnx").write_bytes(serialized(builder.model(), "test"))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    given = torch.randn(1, 3, columns, generator=random)
    found, wanted = torch.from_numpy(session.run(None, {"x": given.numpy()})[0]), given @ weight.dequantize().T
    assert {attribute(node, "block_size", 0) for node in builder.graph if node.op_type == "MatMulNBits"} == {WIDE}
    assert (found - wanted).abs().max() < 0.03 * wanted.abs().max()  # activations are rounded to int8
