"""Which type a matrix is written in, by what was asked for, and what is told where it is another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.exporter.gguf import AUTO
from compress.exporter.gguf.blocks import BLOCK
from compress.exporter.gguf.fitting import Fit, block_length, fit, holds
from compress.exporter.gguf.ternary import TERNARY

if TYPE_CHECKING:
    from compress.numerics.weight import QuantizedWeight

_FLOATS = ("F32", "F16", "BF16")
# For rows that are a multiple of 32 and not of 256: as many bits or more, and what llama.cpp's own program takes.
_SHORTER = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


@dataclass(frozen=True)
class Choice:
    """What a matrix becomes.

    kind        its type.
    from_codes  whether its codes go into the type as they are; otherwise its values are rounded to it.
    instead     why it is another type than was asked, if so.
    wider       why the type has more bits a code than the codes, if so: "2 bits, since …".
    rounded     whether its scales are rounded to float16.
    """

    kind: str
    from_codes: bool = False
    instead: str = ""
    wider: str = ""
    rounded: bool = False

    def reasons(self) -> Iterator[str]:
        """A note for each thing that is other than was asked."""
        told = f"{self.kind} ({bits_a_weight(self.kind):g} bits)"
        if self.instead:
            yield f"{told} instead, since {self.instead}"
        if self.wider:
            yield f"{told} for codes of {self.wider}"
        if self.rounded:
            yield "scales rounded to float16"


def choose(quantized: QuantizedWeight | None, columns: int, kind: str) -> Choice:
    """What a matrix with rows of `columns` values becomes, quantized by a pass or not.

    AUTO       codes go to the smallest type that holds them as they are, and other weights to F16.
    a TQ type  ternary codes go to it; all others become what AUTO says.
    another    codes that the type holds go to it as they are; all other values are rounded to it anew.  Rows that its
               blocks do not fill become a type of shorter blocks and at least as many bits, or F16.
    """
    if quantized is not None and kind == AUTO:
        return _by_itself(quantized)
    if quantized is not None and kind not in _FLOATS:
        found = holds(quantized, kind)
        if found.kind is not None:
            return _kept(quantized, found)
        if kind in TERNARY:
            return _by_itself(quantized, found.reason)
    if kind in TERNARY:
        return Choice("F16", instead="no pass made them ternary")
    return _of_values(columns, "F16" if kind == AUTO else kind)


def bits_a_weight(kind: str) -> float:
    """Scales and offsets counted."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    length, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    return 8 * size / length


def _by_itself(quantized: QuantizedWeight, instead: str = "") -> Choice:
    """The smallest type that holds the codes, or F16."""
    found = fit(quantized)
    if found.kind is None:
        return Choice("F16", instead=instead or found.reason)
    return _kept(quantized, found, instead)


def _kept(quantized: QuantizedWeight, found: Fit, instead: str = "") -> Choice:
    assert found.kind is not None
    wider = f"{quantized.num_bits} bits, since {found.reason}" if found.reason and not instead else ""
    return Choice(found.kind, from_codes=True, instead=instead, wider=wider, rounded=found.rounded)


def _of_values(columns: int, kind: str) -> Choice:
    length = block_length(kind)
    if columns % length == 0:
        return Choice(kind)
    other = "F16" if columns % BLOCK else _SHORTER[kind]
    return Choice(other, instead=f"rows of {columns} values are no multiple of {length}")
