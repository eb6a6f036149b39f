"""train.flow: train a generator of images by flow matching (Lipman et al. 2022, arXiv:2210.02747), with the class left
out at times, so that guidance can do without it (Ho & Salimans 2022, arXiv:2207.12598)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from compress.passes.base import Context, register
from compress.passes.flows import FlowPass

if TYPE_CHECKING:
    from torch import nn

    from compress.training.flowing import Sigmas
    from compress.training.phase import Phase


@register("train.flow")
@dataclass(frozen=True)
class TrainFlow(FlowPass):
    """Train a generator of images by flow matching; it ends with averaged weights.

    label_dropout  share of the images whose class is not told, for classifier-free guidance.
    noise          how much of it: 'uniform' any alike, 'logit_normal' the middle more often than the ends.
    """

    label_dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    noise: Literal["uniform", "logit_normal"] = "uniform"

    def sigmas(self, model: nn.Module) -> Sigmas:
        from compress.training.flowing import logit_normal_sigmas, uniform_sigmas

        return {"uniform": uniform_sigmas, "logit_normal": logit_normal_sigmas}[self.noise]

    def dropout(self) -> float:
        return self.label_dropout

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        return [self.average(model)]
