"""fold.batchnorm: a batch normalisation that follows a convolution becomes part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn


@register("fold.batchnorm")
@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold each batch normalisation into the convolution or linear layer before it: exact in float."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        raise NotImplementedError
