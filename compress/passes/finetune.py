"""finetune: train on the task's own labels, at a low rate, what earlier passes have left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.passes.base import Context, register
from compress.passes.training import TrainingPass

if TYPE_CHECKING:
    from torch import nn

    from compress.training.phase import Phase


@register("finetune")
@dataclass(frozen=True)
class Finetune(TrainingPass):
    """Train on the task's own labels; masks of pruned weights stay."""

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        return []
