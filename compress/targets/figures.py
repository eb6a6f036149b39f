"""A number that somebody stands for: what a device moves and computes, each figure with its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from annotated_types import Gt

Source = Literal["measured", "vendor", "unverified"]
Number = Literal["float32", "float16", "bfloat16", "int8", "int4"]


@dataclass(frozen=True)
class Figure:
    """A number with its source.

    value   in the unit that the field's name says.
    source  'measured' on such a device, 'vendor' for what its maker states, 'unverified' for all else.
    note    where it comes from, and under which conditions it holds.
    """

    value: Annotated[float, Gt(0)]
    source: Source
    note: str = ""


@dataclass(frozen=True)
class ByType:
    """A figure for each type of number that is computed with; those that have no source are left out.

    float32   of 32-bit floats.
    float16   of IEEE's 16-bit floats.
    bfloat16  of 16-bit floats with the exponent of 32-bit ones.
    int8      of 8-bit integers, added up in 32 bits.
    int4      of 4-bit integers.
    """

    float32: Figure | None = None
    float16: Figure | None = None
    bfloat16: Figure | None = None
    int8: Figure | None = None
    int4: Figure | None = None

    def get(self, number: str) -> Figure | None:
        """The figure of that type, or None."""
        found: Figure | None = getattr(self, number)
        return found

    def items(self) -> Iterator[tuple[str, Figure]]:
        """The figures that there are."""
        for field in fields(self):
            figure = self.get(field.name)
            if figure is not None:
                yield field.name, figure
