"""QuantizedWeight: what a pass decided about one weight; and the rounding that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

# How codes lie in a file.  'planes': num_bits each.  The others hold −1, 0 and 1 alone, and run as 2 bits: 'trits' five
# in a byte; '3:4', of which every four neighbours of a row are one zero and three ±1 (Sherry), sixteen fours in 80
# bits; '3:4-words' three fours in 16 bits, which take less memory while they are read.  'odd': codes all odd, in a bit
# less each.
Packing = Literal["planes", "trits", "3:4", "3:4-words", "odd"]
TERNARY_BITS: dict[Packing, float] = {"trits": 1.6, "3:4": 1.25, "3:4-words": 16 / 12}  # of a code
THREE_OF_FOUR: tuple[Packing, ...] = ("3:4", "3:4-words")
SMALLEST_SCALE, LARGEST_SCALE = torch.finfo(torch.float16).tiny, 6e4  # what float16 holds with all its bits
PARTS = ("codes", "scales", "zero_points", "multipliers")  # the tensors of a weight
LARGE = 1 << 24  # weights that are decoded in parts
FOUR = 4  # neighbours of which '3:4' keeps three


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight as integer codes and scales.  A pass writes it, a codec stores it, the exporter picks a kernel for it.

    With W the weight of shape [out, …] seen as rows [out, K] (K = product of the other axes), and the K columns
    cut into groups of `group_size` neighbours (the last may be shorter; None: one group, the whole row):

        W[o, k] = (codes[o, k] − zero_points[o, g(k)]) · scales[o, g(k)] · multipliers[o, g(k)]

    or, on a mid-rise grid, (codes[o, k] + ½) · …

    codes        int8 of W's own shape: [−2^(b−1), 2^(b−1) − 1] if symmetric, [0, 2^b − 1] − 2^(b−1) if affine: always
                 centred, so that any number of bits up to 8 lies in int8.
    scales       float32 [out, groups]; [out, 1] where `multipliers` are given, or per channel; [1, 1] per tensor.
    zero_points  int8 [out, groups], centred like the codes; None: symmetric.
    multipliers  uint8 [out, groups], 1 … 16, or None.  With them a group's scale is an integer times its row's
                 scale: W / scales is an int8 tensor that per-channel int8 kernels take as it is, and a group's scale
                 costs 4 bits (progressive group quantization, QServe, Lin et al. 2024, arXiv:2405.04532, sec. 4.1).
    packing      how the codes lie in a file.  Ternary ones have num_bits 2, no zero points and no multipliers.
    midrise      levels at ±½, ±1½, … steps, none of them zero: of 2 bits four that lie as normal weights want them.
                 Without zero points.
    """

    codes: Tensor
    scales: Tensor
    zero_points: Tensor | None
    multipliers: Tensor | None
    num_bits: int
    group_size: int | None
    packing: Packing = "planes"
    midrise: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    @property
    def is_ternary(self) -> bool:
        return self.packing in TERNARY_BITS

    @property
    def keeps_three_of_four(self) -> bool:
        return self.packing in THREE_OF_FOUR

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest centred code: of 4 bits (−8, 7), of ternary ones (−1, 1)."""
        return (-1, 1) if self.is_ternary else code_range(self.num_bits)

    @property
    def code_bits(self) -> float:
        """Bits that a code takes in a file."""
        return TERNARY_BITS.get(self.packing, float(self.num_bits - (self.packing == "odd")))

    def dequantize(self) -> Tensor:
        """The float32 weight that training, scoring and the artefact see, of the codes' shape."""
        if self.codes.numel() > LARGE and len(self.codes) > 1 and not self.scales.requires_grad:
            return self._dequantize_by_parts()
        rows = self.codes.reshape(self.codes.shape[0], -1).float()
        if self.midrise:
            rows = rows + 0.5
        if self.zero_points is not None:
            rows = rows - spread(self.zero_points.float(), rows.shape[1], self.group_size)
        if self.multipliers is not None:
            rows = rows * spread(self.multipliers.float(), rows.shape[1], self.group_size)
            return (rows * self.scales).reshape(self.codes.shape)
        return (rows * spread(self.scales, rows.shape[1], self.group_size)).reshape(self.codes.shape)

    def _dequantize_by_parts(self) -> Tensor:
        """The same, some rows at a time: memory for the result alone, not for each step on the way to it."""
        result = torch.empty(self.codes.shape)
        height = max(1, len(self.codes) * LARGE // self.codes.numel())
        for start in range(0, len(self.codes), height):
            result[start : start + height] = rows_of(self, slice(start, start + height)).dequantize()
        return result

    def int8(self) -> Tensor:
        """The integer weight that an int8 kernel multiplies, [out, K…]: codes, or codes · multipliers.

        Only for symmetric weights whose scales are one a row (per channel, per tensor, or by multipliers), of a
        mid-rise grid as `odd` integers.
        """
        if self.zero_points is not None or self.scales.shape[1] != 1 or self.midrise:
            raise ValueError("an int8 kernel takes symmetric weights of integers with one scale a row")
        if self.multipliers is None:
            return self.codes
        rows = self.codes.reshape(self.codes.shape[0], -1).to(torch.int16)
        rows = rows * spread(self.multipliers.to(torch.int16), rows.shape[1], self.group_size)
        return rows.to(torch.int8).reshape(self.codes.shape)


def taken_apart(weight: QuantizedWeight) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a weight, by name, and what else it says: plain data, as files keep it."""
    said = {field.name: getattr(weight, field.name) for field in fields(weight)}
    tensors = {name: value for name, value in said.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in said.items() if value is not None and name not in tensors}
    return tensors, plain


def put_together(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> QuantizedWeight:
    """The inverse."""
    nothing: dict[str, Any] = dict.fromkeys(("zero_points", "multipliers", "group_size"))
    return QuantizedWeight(**{**nothing, **tensors, **plain})


def odd(weight: QuantizedWeight) -> QuantizedWeight:
    """The same weight, if its grid is mid-rise, in whole numbers: the codes 2·c + 1 on half the scales."""
    if not weight.midrise:
        return weight
    codes, bits = 2 * weight.codes + 1, weight.num_bits + 1
    return replace(weight, codes=codes, scales=weight.scales / 2, num_bits=bits, packing="odd", midrise=False)


def with_given_codes(grid: QuantizedWeight, codes: Tensor) -> QuantizedWeight:
    """The same scales, zero points and multipliers with other codes, int8 of any shape."""
    return replace(grid, codes=codes)


def rows_of(weight: QuantizedWeight, rows: slice | Tensor) -> QuantizedWeight:
    """Some rows of a weight, by a slice or their numbers; a scale of the whole tensor stays it."""

    def taken(per_row: Tensor | None) -> Tensor | None:
        return per_row if per_row is None or per_row.shape[0] == 1 else per_row[rows]

    scales = taken(weight.scales)
    assert scales is not None
    return replace(
        weight,
        codes=weight.codes[rows],
        scales=scales,
        zero_points=taken(weight.zero_points),
        multipliers=taken(weight.multipliers),
    )


def code_range(num_bits: int) -> tuple[int, int]:
    """Smallest and largest centred code of `num_bits` bits: 4 → (−8, 7)."""
    return -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1


def spread(per_group: Tensor, columns: int, group_size: int | None) -> Tensor:
    """[out, groups] → [out, columns]: each group's value over its columns (or broadcastable [out, 1])."""
    if per_group.shape[1] == 1 or group_size is None:
        return per_group
    return per_group.repeat_interleave(group_size, dim=1)[:, :columns]


def storable_scales(scales: Tensor) -> Tensor:
    """Scales rounded to what float16 holds, so that two bytes store them exactly; tiny ones stay float32.

    float16 keeps 11 bits down to 6.1e-5; a tensor with a smaller non-zero scale is left as it is.
    """
    beyond = ((scales.abs() < SMALLEST_SCALE) | (scales.abs() > LARGEST_SCALE)).any()
    return torch.where(beyond, scales, scales.half().float())  # no branch on values: trainings do this in every forward
