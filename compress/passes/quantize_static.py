"""quantize.static."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target


@register("quantize.static")
@dataclass(frozen=True)
class QuantizeStatic(Pass):
    """W8A8: int8 weights per channel, uint8 activations with ranges from calibration data."""

    num_bits: Annotated[int, Interval(ge=4, le=8)] = 8
    observer: Literal["minmax", "percentile", "entropy", "mse"] = "mse"
    percentile: Annotated[float, Interval(gt=50, le=100)] = 99.99
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        return []

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        raise NotImplementedError
