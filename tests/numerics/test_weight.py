"""QuantizedWeight: what codes and scales mean, on matrices worked by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.numerics.weight import QuantizedWeight, code_range, spread, storable_scales, with_given_codes


def int8(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.int8)


def uint8(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)


def test_a_channel_s_codes_are_multiples_of_its_scale() -> None:
    weight = QuantizedWeight(int8([[1, -2], [3, 0]]), torch.tensor([[0.5], [2.0]]), None, None, 4, None)
    assert weight.dequantize().tolist() == [[0.5, -1.0], [6.0, 0.0]]
    assert weight.shape == (2, 2)


def test_one_scale_may_be_for_the_whole_tensor() -> None:
    weight = QuantizedWeight(int8([[1, -2], [3, 0]]), torch.tensor([[0.5]]), None, None, 4, None)
    assert weight.dequantize().tolist() == [[0.5, -1.0], [1.5, 0.0]]


def test_an_affine_group_counts_from_its_zero_point_and_the_last_group_may_be_shorter() -> None:
    zero_points = int8([[1, -1]])
    weight = QuantizedWeight(int8([[0, 1, 2]]), torch.tensor([[1.0, 10.0]]), zero_points, None, 4, 2)
    assert weight.dequantize().tolist() == [[-1.0, 0.0, 30.0]]  # (0 − 1)·1, (1 − 1)·1, (2 + 1)·10


def test_a_multiplier_is_an_integer_part_of_its_group_s_scale() -> None:
    weight = QuantizedWeight(int8([[1, 2, -3]]), torch.tensor([[0.5]]), None, uint8([[2, 16]]), 4, 2)
    assert weight.dequantize().tolist() == [[1.0, 2.0, -24.0]]
    assert weight.int8().tolist() == [[2, 4, -48]]


def test_groups_run_over_all_inputs_of_a_convolution() -> None:
    codes = torch.arange(8, dtype=torch.int8).reshape(1, 2, 2, 2)
    weight = QuantizedWeight(codes, torch.tensor([[1.0, 2.0, 3.0]]), None, None, 4, 3)
    assert weight.dequantize().flatten().tolist() == [0, 1, 2, 6, 8, 10, 18, 21]
    assert weight.dequantize().shape == (1, 2, 2, 2)


def test_the_int8_weight_of_one_scale_a_row_is_its_codes() -> None:
    codes = int8([[-128, 127]])
    assert QuantizedWeight(codes, torch.tensor([[0.1]]), None, None, 8, None).int8() is codes


def test_the_largest_multiple_of_a_four_bit_code_fits_int8() -> None:
    weight = QuantizedWeight(int8([[-8, 7]]), torch.tensor([[1.0]]), None, uint8([[16]]), 4, 2)
    assert weight.int8().tolist() == [[-128, 112]]


@pytest.mark.parametrize(
    ("scales", "zero_points"), [(torch.ones(1, 2), None), (torch.ones(1, 1), int8([[0]]))], ids=["groups", "affine"]
)
def test_int8_is_refused_for_what_no_int8_kernel_multiplies(scales: Tensor, zero_points: Tensor | None) -> None:
    weight = QuantizedWeight(int8([[1, 2]]), scales, zero_points, None, 4, 1)
    with pytest.raises(ValueError, match=r"^an int8 kernel takes symmetric weights of integers with one scale a row$"):
        weight.int8()


def test_other_codes_keep_the_grid() -> None:
    before = QuantizedWeight(int8([[1, 2]]), torch.ones(1, 1), None, None, 3, 2)
    after = with_given_codes(before, int8([[3, -4]]))
    assert after.codes.tolist() == [[3, -4]]
    assert (after.scales is before.scales, after.num_bits, after.group_size) == (True, 3, 2)


@pytest.mark.parametrize(("num_bits", "codes"), [(2, (-2, 1)), (3, (-4, 3)), (4, (-8, 7)), (8, (-128, 127))])
def test_the_codes_of_some_bits_are_centred(num_bits: int, codes: tuple[int, int]) -> None:
    assert code_range(num_bits) == codes


def test_a_group_s_value_lies_over_its_columns() -> None:
    assert spread(torch.tensor([[1, 2], [3, 4]]), 3, 2).tolist() == [[1, 1, 2], [3, 3, 4]]
    assert spread(torch.tensor([[1], [2]]), 3, 2).tolist() == [[1], [2]]  # left to broadcasting


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.sampled_from([None, 2, 4]), st.integers(1, 80), st.data())
def test_a_large_weight_is_decoded_in_parts_to_the_same(
    rows: int, columns: int, group_size: int | None, part: int, data: st.DataObject
) -> None:
    groups = -(-columns // (group_size or columns))
    seed = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    codes = torch.randint(-8, 8, (rows, columns), generator=seed, dtype=torch.int8)
    scales = torch.rand((data.draw(st.sampled_from([1, rows])) if group_size is None else rows), groups, generator=seed)
    zeros = torch.randint(-8, 8, scales.shape, generator=seed, dtype=torch.int8) if data.draw(st.booleans()) else None
    weight = QuantizedWeight(codes, scales, zeros, None, 4, group_size)
    whole = weight.dequantize()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compress.numerics.weight.LARGE", part)
        assert torch.equal(weight.dequantize(), whole)


@given(st.lists(st.floats(2.0**-14, 6e4, width=32), min_size=1, max_size=8))
def test_storable_scales_pass_through_float16_unchanged(values: list[float]) -> None:
    scales = torch.tensor(values)
    stored = storable_scales(scales)
    assert torch.equal(stored.half().float(), stored)
    assert bool(((stored - scales).abs() <= scales * 2.0**-11).all())  # 11 significant bits, rounded


@pytest.mark.parametrize("extreme", [6e-5, 0.0, 7e4])
def test_scales_that_float16_cannot_hold_stay_float32(extreme: float) -> None:
    scales = torch.tensor([0.1, extreme])
    assert torch.equal(storable_scales(scales), scales)
