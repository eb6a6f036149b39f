"""Bits on disk, worked by hand and by hypothesis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.exporter.codecs import (
    Coding,
    disk_scales,
    pack,
    packed_bytes,
    plane_tables,
    plane_widths,
    stored_bytes,
    unpack,
)
from compress.numerics.weight import QuantizedWeight


@pytest.mark.parametrize(
    ("num_bits", "widths"),
    [(1, (1,)), (2, (2,)), (3, (2, 1)), (4, (4,)), (5, (4, 1)), (6, (4, 2)), (7, (4, 2, 1)), (8, (8,))],
)
def test_planes_are_as_wide_as_the_bits_of_the_number_of_bits(num_bits: int, widths: tuple[int, ...]) -> None:
    assert plane_widths(num_bits) == widths


@pytest.mark.parametrize("num_bits", [0, 9])
def test_other_numbers_of_bits_are_refused(num_bits: int) -> None:
    with pytest.raises(ValueError, match="codes have 1 to 8 bits"):
        pack(np.zeros(1, np.uint8), num_bits)


def test_the_first_code_lies_in_the_lowest_bits() -> None:
    [plane] = pack(np.array([1, 2, 15]), 4)
    assert plane.tolist() == [0x21, 0x0F]
    [plane] = pack(np.array([1, 2, 3, 0, 2]), 2)
    assert plane.tolist() == [0b00_11_10_01, 0b10]


def test_three_bits_are_a_plane_of_two_and_a_plane_of_one() -> None:
    low, high = pack(np.array([5, 2, 7]), 3)  # 101, 010, 111
    assert low.tolist() == [0b11_10_01]
    assert high.tolist() == [0b101]


def test_eight_bits_are_bytes() -> None:
    [plane] = pack(np.array([0, 200, 255]), 8)
    assert plane.tolist() == [0, 200, 255]


@given(st.data(), st.integers(1, 8), st.integers(0, 70))
def test_unpack_gives_back_what_was_packed(data: st.DataObject, num_bits: int, count: int) -> None:
    codes = np.array(data.draw(st.lists(st.integers(0, 2**num_bits - 1), min_size=count, max_size=count)), np.uint8)
    planes = pack(codes, num_bits)
    assert unpack(planes, num_bits, count).tolist() == codes.tolist()
    assert sum(plane.nbytes for plane in planes) == packed_bytes(count, num_bits)


@given(st.integers(1, 7), st.integers(1, 40))
def test_not_a_byte_more_than_the_bits_of_each_plane_take(num_bits: int, count: int) -> None:
    assert packed_bytes(8 * count, num_bits) == num_bits * count
    assert packed_bytes(count, num_bits) < count * num_bits / 8 + len(plane_widths(num_bits))


@given(st.integers(1, 7), st.integers(-64, 1), st.integers(0, 127))
def test_tables_add_up_to_the_code_and_its_offset(num_bits: int, offset: int, code: int) -> None:
    code %= 2**num_bits
    planes = pack(np.array([code]), num_bits)
    tables = plane_tables(Coding(num_bits, 1, offset))
    assert sum(int(table[plane[0], 0]) for table, plane in zip(tables, planes, strict=True)) == code + offset


@given(st.integers(1, 7), st.sampled_from([1, 2]), st.data())
def test_codes_are_numbers_from_zero_up(num_bits: int, step: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 2**num_bits - 1), min_size=1))
    coding = Coding(num_bits, step, -(step * 2 ** (num_bits - 1)) + step - 1)
    codes = np.array([step * number + coding.offset for number in numbers], np.int8)
    assert coding.numbers(codes).tolist() == numbers


def test_scales_take_two_bytes_where_these_are_exact() -> None:
    assert disk_scales(np.array([0.5, 0.25], np.float32)).dtype == np.float16
    assert disk_scales(np.array([0.5, 0.1], np.float32)).dtype == np.float32
    assert disk_scales(np.array([1e9], np.float32)).dtype == np.float32


def test_stored_bytes_worked_by_hand() -> None:
    codes, scales = torch.zeros(4, 3, 3, 3, dtype=torch.int8), torch.full((4, 1), 0.5)
    assert stored_bytes(QuantizedWeight(codes, scales, None, None, 8, None)) == 4 * 27 + 4 * 2
    assert stored_bytes(QuantizedWeight(codes, scales * 0.3, None, None, 8, None)) == 4 * 27 + 4 * 4
    # 27 columns in groups of 16 are 2 groups a row: 108 codes of 3 bits are 27 + 14 bytes; 8 zero points 2 + 1.
    zeros, ones = torch.zeros(4, 2, dtype=torch.int8), torch.ones(4, 2, dtype=torch.uint8)
    assert stored_bytes(QuantizedWeight(codes, scales.repeat(1, 2), zeros, None, 3, 16)) == 41 + 16 + 3
    assert stored_bytes(QuantizedWeight(codes, scales, None, ones, 3, 16)) == 41 + 8 + 4
