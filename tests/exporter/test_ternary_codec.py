"""Ternary codes in bytes and words, worked by hand and by hypothesis, and as onnxruntime decodes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compress.exporter.codecs import pack, pack_ternary, ternary_bytes, unpack_ternary
from compress.exporter.codecs.ternary import codes_of_fours
from compress.exporter.text.builder import Builder, serialized
from compress.exporter.text.ternary import decoded_codes
from compress.exporter.text.weightfile import WeightFile
from compress.numerics.weight import Packing

PACKINGS: tuple[Packing, ...] = ("trits", "3:4", "3:4-words")


def random_codes(packing: Packing, fours: int, seed: int) -> NDArray[np.int8]:
    draw = np.random.default_rng(seed)
    if packing == "trits":
        return draw.integers(-1, 2, 4 * fours).astype(np.int8)
    return codes_of_fours()[draw.integers(0, 32, fours)].reshape(-1)


def test_five_trits_are_a_byte() -> None:
    codes = np.zeros(20, np.int8)
    codes[[0, 4, 8, 12, 16]] = [1, 0, -1, -1, 1]
    zeros = 1 + 3 + 9 + 27 + 81
    assert pack_ternary(codes, "trits").tolist() == [2 + 1 * 3 + 2 * 81, zeros, zeros, zeros]
    assert pack_ternary(np.array([-1], np.int8), "trits").tolist() == [zeros - 1, zeros, zeros, zeros]


def test_three_fours_are_a_word() -> None:
    fours = [[0, 1, 1, 1], [1, 0, -1, -1], [-1, -1, 1, 0]]
    numbers = [0b111_00, 0b001_01, 0b100_11]
    word = numbers[0] | numbers[1] << 5 | numbers[2] << 10
    assert pack_ternary(np.array(fours, np.int8), "3:4-words").tolist() == [word]
    assert pack_ternary(np.array(fours, np.int8), "3:4").tolist() == [word, 0, 0, 0, 0]


def test_the_sixteenth_four_lies_in_the_highest_bits() -> None:
    none, last = [0, -1, -1, -1], [1, -1, 0, 1]  # numbers 0 and 0b101_10
    words = pack_ternary(np.array([none] * 15 + [last], np.int8), "3:4")
    assert words.tolist() == [0, 1 << 15, 1 << 15, 0, 1 << 15]


@given(st.sampled_from(PACKINGS), st.integers(0, 100), st.integers(0, 3), st.integers(0, 99))
def test_unpack_gives_back_what_was_packed(packing: Packing, fours: int, less: int, seed: int) -> None:
    codes = random_codes(packing, fours, seed)
    codes = codes[: len(codes) - less] if packing == "trits" and fours else codes
    stored = pack_ternary(codes, packing)
    assert unpack_ternary(stored, packing, codes.size).tolist() == codes.tolist()
    assert stored.nbytes == ternary_bytes(codes.size, packing)


@pytest.mark.parametrize(("packing", "bits"), [("trits", 1.6), ("3:4", 1.25), ("3:4-words", 16 / 12)])
def test_the_bits_of_a_code_are_as_few_as_is_said(packing: Packing, bits: float) -> None:
    assert 8 * ternary_bytes(960 * 1000, packing) == round(bits * 960 * 1000)


@pytest.mark.parametrize("packing", PACKINGS)
def test_other_codes_are_refused(packing: Packing) -> None:
    with pytest.raises(ValueError, match="ternary codes are -1, 0 and 1"):
        pack_ternary(np.array([2, 0, 1, 1], np.int8), packing)
    if packing != "trits":
        with pytest.raises(ValueError, match="of every four neighbours exactly one is zero"):
            pack_ternary(np.array([0, 0, 1, 1], np.int8), packing)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("fours", [1, 5, 16, 17, 70])
def test_onnxruntime_decodes_what_a_kernel_of_these_bits_reads(
    packing: Packing, bits: int, fours: int, tmp_path: Path
) -> None:
    codes = random_codes(packing, fours, bits)
    [expected] = pack(codes.astype(np.int16) + 2 ** (bits - 1), bits)
    with WeightFile(tmp_path) as file:
        builder = Builder(file)
        value = decoded_codes(builder, "weight", codes, packing, bits, (1, expected.size))
        builder.output(value, "codes", ir.DataType.UINT8, (1, expected.size))
    (tmp_path / "model.onnx").write_bytes(serialized(builder.model(), "test"))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {})[0].reshape(-1), expected)
