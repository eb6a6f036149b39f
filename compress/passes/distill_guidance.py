"""distill.guidance: one evaluation in place of classifier-free guidance's two (Meng et al. 2023, arXiv:2210.03142,
section 3.1, at one guidance scale)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, register
from compress.passes.flows import FlowPass

if TYPE_CHECKING:
    from torch import nn

    from compress.training.flowing import Sigmas
    from compress.training.phase import Phase


@register("distill.guidance")
@dataclass(frozen=True)
class DistillGuidance(FlowPass):
    """Train a generator to give in one evaluation what guidance makes of two; it is its own teacher.

    The guidance scale is the one that the model is sampled with; afterwards it is sampled without.
    """

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of

        super().requires(model, context)
        if sampling_of(model).guidance_scale is None:
            raise ModelError(f"{self.name}: the model is sampled without guidance already: take it out")

    def sigmas(self, model: nn.Module) -> Sigmas:
        from compress.training.flowing import uniform_sigmas

        return uniform_sigmas

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        from compress.models.generators.noted import sampling_of
        from compress.training.flow_targets import guided_by
        from compress.training.flowing import Follow

        teacher, scale = copy.deepcopy(model), sampling_of(model).guidance_scale
        assert scale is not None  # `requires` saw to it
        return [Follow(model, teacher, guided_by(teacher, scale)), self.average(model)]

    def finished(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.generators.noted import sampling_of, set_sampling

        set_sampling(model, replace(sampling_of(model), guidance_scale=None))
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of

        scale = sampling_of(model).guidance_scale
        if scale is not None:
            raise PromiseBroken(f"{self.name}: the model is sampled with guidance of {scale:g}, none was asked for")
