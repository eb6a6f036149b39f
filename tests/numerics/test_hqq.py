"""HQQ: zero points without data."""

from __future__ import annotations

import torch

from compress.numerics import hqq as module
from compress.numerics.grid import nearest
from compress.numerics.hqq import NORM, hqq, shrink


def heavy(seed: int = 0) -> torch.Tensor:
    """Weights [40, 64] with tails, as trained ones have."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(40, 64, generator=generator) * torch.rand(40, 64, generator=generator).pow(3)


def test_few_err_far_so_that_most_err_little() -> None:
    """In the norm that it seeks, it is no worse than zero points at the end of the range."""
    weight = heavy() + 0.3
    given = hqq(weight, 4, 16)
    low, high = weight.reshape(40, 4, 16).amin(-1).clamp_max(0), weight.reshape(40, 4, 16).amax(-1).clamp_min(0)
    scale = ((high - low) / 15)[..., None]
    zero = (-8 - low[..., None] / scale).round()
    groups = weight.reshape(40, 4, 16)
    plain = ((groups / scale + zero).round().clamp(-8, 7) - zero) * scale
    errors = [(groups - other.reshape(groups.shape)).abs().pow(NORM).mean() for other in (given.dequantize(), plain)]
    assert errors[0] <= 1.02 * errors[1]


def test_codes_and_zero_points_are_of_the_format() -> None:
    given = hqq(heavy(), 3, 16)
    assert (given.codes.dtype, given.scales.shape, given.num_bits, given.group_size) == (torch.int8, (40, 4), 3, 16)
    assert given.zero_points is not None
    assert -4 <= int(given.zero_points.min()) <= int(given.zero_points.max()) <= 3
    assert -4 <= int(given.codes.min()) <= int(given.codes.max()) <= 3
    assert torch.equal(given.scales, given.scales.half().float())


def test_it_is_about_as_near_as_a_search_by_squared_error() -> None:
    weight = heavy()
    error = (hqq(weight, 4, 16).dequantize() - weight).square().mean()
    assert error < 2 * (nearest(weight, 4, 16, symmetric=False).dequantize() - weight).square().mean()


def test_zeros_stay_zeros_and_rows_do_not_depend_on_each_other(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert not hqq(torch.zeros(2, 8), 4, 4).dequantize().any()
    whole = hqq(heavy(), 4, 16)
    monkeypatch.setattr(module, "ROWS", 7)
    assert torch.equal(hqq(heavy(), 4, 16).codes, whole.codes)


def test_what_is_small_is_shrunk_to_nothing() -> None:
    x = torch.tensor([-2.0, 1e-3, 2.0])
    kept = 2 - 2 ** (NORM - 1) / 10
    torch.testing.assert_close(shrink(x, 10.0), torch.tensor([-kept, 0.0, kept]))
