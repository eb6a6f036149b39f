"""reconstruct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn


@register("reconstruct")
@dataclass(frozen=True)
class Reconstruct(Pass):
    """Learn the rounding, block by block, against the float block's output (BRECQ, Li et al. 2021)."""

    iterations: Annotated[int, Ge(1)] = 500
    batch_size: Annotated[int, Ge(1)] = 32
    learning_rate: Annotated[float, Gt(0)] = 1e-3

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        raise NotImplementedError
