"""Codes as the low-bit kernels read them, whichever way they are looked up."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnxruntime
import pytest
import torch

from compress.exporter.text import packed
from compress.exporter.text.builder import Builder, serialized
from compress.exporter.text.packed import codes_of_bytes, pack_weight
from compress.exporter.text.weightfile import WeightFile
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
