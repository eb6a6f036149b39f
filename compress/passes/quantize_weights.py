"""quantize.weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Interval

from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target


@register("quantize.weights")
@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Store weights in 2 to 8 bits, per tensor, channel or group."""

    num_bits: Annotated[int, Interval(ge=2, le=8)]
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()
    strategy: Literal["tensor", "channel", "group"] = "channel"
    group_size: Annotated[int, Ge(2)] | None = None
    symmetric: bool = True
    group_scales: Literal["float16", "integer"] = "float16"
    algorithm: Literal["rtn", "adaround"] = "rtn"

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        return []

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        raise NotImplementedError
