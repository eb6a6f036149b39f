"""prune.heads: attention heads go, those that add least to what their attention writes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, register
from compress.passes.narrowing import Narrow

if TYPE_CHECKING:
    from torch import nn

    from compress.models.heads import Heads


@register("prune.heads")
@dataclass(frozen=True)
class PruneHeads(Narrow):
    """Take heads out of every attention: of decoders, of timm's and torchvision's ViTs.

    ratio   the share of each attention's heads that goes, rounded down.
    keep    instead of ratio: how many heads of queries stay in each.
    ignore  attentions that stay: those in which a layer is selected; not of a translator, whose config has one number.

    A head matters by what it adds to the attention's output on the calibration data, √E‖W_h·x_h‖²: its activations
    weighted by the weights that read them (activations: Muralidharan et al. 2024, arXiv:2407.14679; that most heads can
    go: Michel et al. 2019, arXiv:1905.10650). Where several heads of queries share one of keys and values, all of them
    go together with it; where all share one, heads of queries go one by one.
    """

    goes: ClassVar[str] = "the heads"
    stays: ClassVar[str] = "heads that stay"
    has: ClassVar[str] = "number of heads"

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import refuse_quantized
        from compress.models.structure import is_translator

        refuse_quantized(model, self.name)
        attentions = self.attentions(model)
        if not attentions:
            raise ModelError(f"{self.name}: the model has no attention whose heads can go")
        if is_translator(model) and len({(a.heads, a.key_heads, a.head_dim) for a in attentions}) > 1:
            raise ModelError(f"{self.name}: the layers have different heads, and the config has one number for them")
        for attention in attentions:
            units = self.units(attention)
            if units < 1 or (self.keep is not None and self.keep % attention.unit):
                told = f"{attention.heads} heads go by {attention.unit}"
                raise ModelError(f"{self.name}: {attention.name}: {told}: none would stay, or not as many as asked")
        if all(self.units(attention) == attention.num_units for attention in attentions):
            raise ModelError(f"{self.name}: no head would go: {attentions[0].name} has {attentions[0].heads}")

    def attentions(self, model: nn.Module) -> list[Heads]:
        from compress.models.heads import attention_heads

        return self.meant(model, attention_heads(model))

    def units(self, attention: Heads) -> int:
        """How many of an attention's units stay."""
        units = attention.num_units
        if self.keep is not None:
            return min(units, self.keep // attention.unit)
        return units - math.floor((self.ratio or 0.0) * units + 1e-9)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.heads import keep_heads, tell_heads
        from compress.models.structure import is_translator, recording
        from compress.passes.scoring_units import contributions

        attentions = self.attentions(model)
        sizes = {attention.output: attention.unit * attention.head_dim for attention in attentions}
        scores = contributions(model, sizes, context)
        with recording(model):
            for attention in attentions:
                count = self.units(attention)
                kept = scores[attention.output].argsort(descending=True, stable=True)[:count]
                keep_heads(model, attention, sorted(kept.tolist()))
            if is_translator(model):
                tell_heads(model, attentions[0], self.units(attentions[0]))
        before = sum(attention.heads for attention in attentions)
        after = sum(self.units(attention) * attention.unit for attention in attentions)
        context.notes.append(f"{after} of {before} heads stay, in {len(attentions)} attentions")
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.heads import attention_heads, first_heads

        attentions = [(each, first_heads(model, each)) for each in attention_heads(model)]
        if self.ignore:  # which of them were meant is not known once blocks have gone
            attentions = [(each, first) for each, first in attentions if first != each] or attentions[:1]
        for attention, first in attentions:
            wanted = self.units(first) * first.unit
            if attention.heads > wanted:
                told = f"{attention.heads} heads, at most {wanted} were to stay"
                raise PromiseBroken(f"{self.name}: {attention.name} has {told}")
