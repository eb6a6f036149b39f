"""equalize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn


@register("equalize")
@dataclass(frozen=True)
class Equalize(Pass):
    """Even out the weight ranges of neighbouring layers' channels (cross-layer equalization, Nagel et al. 2019)."""

    iterations: Annotated[int, Ge(1)] = 20

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        raise NotImplementedError
