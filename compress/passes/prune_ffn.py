"""prune.ffn: feed-forward parts become narrower, by what adds least to what they write."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, register
from compress.passes.narrowing import Narrow

if TYPE_CHECKING:
    from torch import nn

    from compress.models.feedforward import FeedForward
    from compress.targets import Target


@register("prune.ffn")
@dataclass(frozen=True)
class PruneFeedForward(Narrow):
    """Make the hidden width of every feed-forward part of a transformer smaller.

    ratio     the share of the hidden width that goes; rounding leaves more.
    keep      instead of ratio: the hidden width that stays.
    round_to  with ratio, what stays is a multiple of this; null: of the target's channel_multiple.
    ignore    parts that stay: those of which a layer is selected; not of a translator, whose config has one width.

    A number of the hidden width matters by what it adds to the output on the calibration data, ‖W_j‖·√E x_j²: its
    activation weighted by the weights that read it (Sun et al. 2023, arXiv:2306.11695, summed over the outputs;
    activations alone: Muralidharan et al. 2024, arXiv:2407.14679).
    """

    goes: ClassVar[str] = "the hidden width"
    stays: ClassVar[str] = "the width that stays"
    has: ClassVar[str] = "hidden width"
    round_to: Annotated[int, Ge(1)] | None = None

    def problems(self, target: Target) -> list[str]:
        problems = super().problems(target)
        if self.keep is not None and self.round_to is not None:
            problems.append("round_to has no effect on keep: take it out")
        return problems

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import refuse_quantized

        refuse_quantized(model, self.name)
        parts = self.parts(model, context)
        if not parts:
            raise ModelError(f"{self.name}: the model has no feed-forward part that can become narrower")
        if all(self.width(part.width, context) == part.width for part in parts):
            raise ModelError(f"{self.name}: nothing would go: {parts[0].output} reads {parts[0].width} numbers")

    def parts(self, model: nn.Module, context: Context) -> list[FeedForward]:
        from compress.models.feedforward import feed_forwards

        return self.meant(model, feed_forwards(model, context.example()))

    def width(self, before: int, context: Context) -> int:
        """What stays of a hidden width."""
        if self.keep is not None:
            return min(before, self.keep)
        multiple = self.round_to or context.target.channel_multiple
        stays = max(1, before - math.floor((self.ratio or 0.0) * before + 1e-9))
        return min(before, -(-stays // multiple) * multiple)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.feedforward import keep_width, tell_width
        from compress.models.structure import recording
        from compress.passes.scoring_units import contributions

        parts = self.parts(model, context)
        scores = contributions(model, {part.output: 1 for part in parts}, context)
        with recording(model):
            for part in parts:
                order = scores[part.output].argsort(descending=True, stable=True)
                keep_width(model, part, order[: self.width(part.width, context)].sort().values)
            for before in sorted({part.width for part in parts}):
                tell_width(model, [part for part in parts if part.width == before], self.width(before, context))
        told = sorted({f"{part.width} → {self.width(part.width, context)}" for part in parts})
        context.notes.append(f"the hidden width of {len(parts)} feed-forward parts: {', '.join(told)}")
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.feedforward import feed_forwards
        from compress.models.structure import first_size

        parts = [
            (part, int(first_size(model.get_submodule(part.output), "in_features")))
            for part in feed_forwards(model, context.example())
        ]
        if self.ignore:  # which of them were meant is not known once blocks have gone
            parts = [(part, first) for part, first in parts if first != part.width] or parts[:1]
        for part, first in parts:
            wanted = self.width(first, context)
            if part.width > wanted:
                told = f"{part.width} numbers, at most {wanted} were to stay"
                raise PromiseBroken(f"{self.name}: {part.output} reads {told}")
