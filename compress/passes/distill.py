"""distill: train a student on what a teacher gives (Hinton et al. 2015, arXiv:1503.02531; hints: Romero et al. 2014,
arXiv:1412.6550; attention: Zagoruyko & Komodakis 2016, arXiv:1612.03928)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.passes.base import Context, register
from compress.passes.training import TaughtPass

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target
    from compress.training.phase import Phase


@register("distill")
@dataclass(frozen=True)
class Distill(TaughtPass):
    """Train on what a teacher gives: its logits, features, attention, in any mix with the task's own labels."""

    def problems(self, target: Target) -> list[str]:
        found = super().problems(target)
        if not self.teaches:
            found.append("nothing is taught: give logits, features or attention, or write finetune")
        return found

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        return self.taught(model, context)
