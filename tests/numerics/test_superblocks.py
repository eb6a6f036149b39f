"""Grids of two levels: what the search gives lies on the grid, and loses less than scales taken from the ends."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.numerics.superblocks import SUPERBLOCK, Superblocks, SuperGrid, search

GRIDS = {
    "2 bits, affine": SuperGrid(2, 16, 15, True),
    "3 bits, symmetric": SuperGrid(3, 16, 31, False),
    "4 bits, affine": SuperGrid(4, 32, 63, True),
    "5 bits, affine": SuperGrid(5, 32, 63, True),
    "6 bits, symmetric": SuperGrid(6, 16, 127, False),
}
NAMED = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def normal(seed: int, count: int = 3) -> torch.Tensor:
    return torch.randn(count, SUPERBLOCK, generator=torch.Generator().manual_seed(seed))


def heavy_tailed(seed: int, count: int) -> torch.Tensor:
    """Student's t with 3 degrees of freedom."""
    parts = torch.randn(4, count, SUPERBLOCK, generator=torch.Generator().manual_seed(seed))
    return parts[0] / (parts[1:].square().sum(0) / 3).sqrt()


def edge_cases(kind: str, seed: int, scale: float) -> torch.Tensor:
    values = normal(seed)
    if kind == "zeros":
        values.zero_()
    elif kind == "one outlier":
        values[1].zero_()
        values[:, seed % SUPERBLOCK] = 50.0
    elif kind == "constant":
        values[:] = 1.0 if seed % 2 else -1.0
    elif kind == "positive":
        values.abs_()
    return values * scale


def half(values: torch.Tensor) -> torch.Tensor:
    return values.half().float()


def plain(values: torch.Tensor, grid: SuperGrid) -> torch.Tensor:
    """Each group's scale (and offset) from its ends, rounded up to the integers of the largest ones."""
    groups = values.reshape(len(values), -1, grid.group_size)
    low, high = grid.codes
    if grid.affine:
        offsets = (-groups.amin(-1)).clamp_min(0)
        scales = (groups.amax(-1).clamp_min(0) + offsets) / high
        offset_step = half(offsets.amax(1, keepdim=True) / grid.reach)
        offsets = offset_step * (offsets / offset_step).round().clamp(0, grid.reach)
    else:
        scales = groups.abs().amax(-1) / high
        offsets = torch.zeros_like(scales)
    step = half(scales.amax(1, keepdim=True) / grid.reach)
    scales = step * (scales / step).round().clamp(1, grid.reach)
    shifted = groups + offsets[..., None]
    codes = (shifted / scales[..., None]).round().clamp(low, high)
    return (codes * scales[..., None] - offsets[..., None]).flatten(1)


def lost(values: torch.Tensor, approximation: torch.Tensor) -> float:
    return float((values - approximation).double().square().sum() / values.double().square().sum())


@NAMED
@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["normal", "zeros", "one outlier", "constant", "positive"]),
    st.integers(0, 1000),
    st.sampled_from([1e-30, 1e-8, 1e-6, 1e-3, 1.0, 900.0]),
)
def test_what_is_found_lies_on_the_grid_and_loses_no_more_than_zeros(
    grid: SuperGrid, kind: str, seed: int, scale: float
) -> None:
    values = edge_cases(kind, seed, scale)
    found = search(values, grid)
    groups = SUPERBLOCK // grid.group_size
    assert found.codes.shape == (3, groups, grid.group_size)
    assert found.multiples.shape == found.offsets.shape == (3, groups)
    for integers, (least, most) in (
        (found.codes, grid.codes),
        (found.multiples, grid.multiples),
        (found.offsets, (0, grid.reach if grid.affine else 0)),
    ):
        assert integers.dtype == torch.int8
        assert least <= int(integers.min()) <= int(integers.max()) <= most
    for steps in (found.step, found.offset_step):
        assert torch.equal(half(steps), steps)
        assert bool((steps >= 0).all())
    error = (found.dequantize() - values).double().square().sum(1)
    assert bool((error <= values.double().square().sum(1)).all())


@NAMED
def test_a_constant_comes_out_but_for_the_rounding_to_float16(grid: SuperGrid) -> None:
    for constant in (-0.37, 0.37):
        values = torch.full((1, SUPERBLOCK), constant)
        assert float((search(values, grid).dequantize() - values).abs().max()) <= 0.37 * 2**-11


@NAMED
def test_zeros_are_zeros_throughout(grid: SuperGrid) -> None:
    found = search(torch.zeros(2, SUPERBLOCK), grid)
    for part in (found.codes, found.multiples, found.offsets, found.step, found.offset_step):
        assert not part.any()


@NAMED
@pytest.mark.parametrize("make", [normal, heavy_tailed])
def test_less_is_lost_than_by_scales_from_the_ends(grid: SuperGrid, make: object) -> None:
    assert callable(make)
    values = make(0, 300) * 0.02
    assert lost(values, search(values, grid).dequantize()) < 0.92 * lost(values, plain(values, grid))


@NAMED
def test_a_super_block_is_found_alike_whichever_others_are_beside_it(grid: SuperGrid) -> None:
    values = heavy_tailed(1, 300)  # more than are searched together
    whole, apart = search(values, grid), [search(values[start : start + 7], grid) for start in range(0, 300, 7)]
    for name in ("codes", "multiples", "offsets", "step", "offset_step"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(each, name) for each in apart])), name


def test_a_value_is_its_code_times_its_group_s_scale_less_its_offset() -> None:
    codes = torch.zeros(1, 16, 16, dtype=torch.int8)
    multiples, offsets = torch.zeros(1, 16, dtype=torch.int8), torch.zeros(1, 16, dtype=torch.int8)
    codes[0, 2, 5], multiples[0, 2], offsets[0, 2] = 3, 7, 2
    made = Superblocks(codes, multiples, offsets, torch.tensor([0.5]), torch.tensor([0.25])).dequantize()
    expected = torch.zeros(1, 256)
    expected[0, 32:48] = -0.5
    expected[0, 37] = 3 * 7 * 0.5 - 0.5
    assert torch.equal(made, expected)
