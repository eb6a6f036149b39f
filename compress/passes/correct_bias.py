"""correct.bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn


@register("correct.bias")
@dataclass(frozen=True)
class CorrectBias(Pass):
    """Take the mean error that quantization causes out of every layer's bias (Nagel et al. 2019, sec. 4.2)."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        raise NotImplementedError
