"""prune.layers: whole blocks go, those that matter least: layers of a translator, residual blocks of other networks.

Criteria: block influence (Men et al. 2024, ShortGPT, arXiv:2403.03853), or the loss without the block."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Interval

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target

CANDIDATES = "num_removable_blocks"  # an attribute of the model: how many there were
_TOLD = 8  # blocks that a note names


@register("prune.layers")
@dataclass(frozen=True)
class PruneLayers(Pass):
    """Take whole blocks out: layers of a translator, residual blocks of a classifier.

    count       how many blocks go.
    ratio       instead of count: which share of the blocks that can go, rounded down.
    criterion   'block_influence': those that turn the direction of what passes through them least, 1 − cosine of a
                block's input and output, all in one go. 'loss': those without which the loss on the calibration data
                is least: of a translator the negative log-likelihood of the text, of others the divergence from the
                model's own outputs; one at a time, each chosen without those before it. It costs a run over the data
                for every block that is left, every time.
    contiguous  only blocks that follow one another.
    ignore      blocks that stay: those in which a layer is selected.

    A block can go if what it gives has the shape of what it is given. It is really gone: the model is shallower, and so
    are its config and what is exported of it.
    """

    lasts_through_training: ClassVar[bool] = True

    count: Annotated[int, Ge(1)] | None = None
    ratio: Annotated[float, Interval(gt=0, lt=1)] | None = None
    criterion: Literal["block_influence", "loss"] = "block_influence"
    contiguous: bool = False
    ignore: tuple[str, ...] = ()

    def selectors(self) -> tuple[str, ...]:
        return self.ignore

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        if (self.count is None) == (self.ratio is None):
            problems.append("give either count (of blocks) or ratio (of the blocks that can go)")
        return problems

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import refuse_quantized

        refuse_quantized(model, self.name)
        candidates = self.candidates(model, context)
        count = self.wanted(len(candidates))
        if not 1 <= count <= len(candidates):
            told = f"{len(candidates)} blocks give the shape that they are given and are not ignored"
            raise ModelError(f"{self.name}: {count} blocks are to go, and {told}")
        if self.contiguous and not self.choices(candidates, count):
            raise ModelError(f"{self.name}: no {count} of the blocks that can go follow one another")

    def candidates(self, model: nn.Module, context: Context) -> list[str]:
        """The blocks that can go, in their order."""
        from compress.models.blocks import inside
        from compress.models.depth import removable_blocks
        from compress.models.layers import select

        kept = select(model, self.ignore, embeddings=True) if self.ignore else {}
        blocks = removable_blocks(model, context.example())
        return [block for block in blocks if not any(inside(layer, block) for layer in kept)]

    def wanted(self, num_candidates: int) -> int:
        return self.count if self.count is not None else math.floor((self.ratio or 0.0) * num_candidates + 1e-9)

    def choices(self, candidates: Sequence[str], count: int) -> list[list[str]]:
        """What can go at once: a block, or `count` neighbours."""
        from compress.models.depth import runs_of

        return runs_of(candidates, count) if self.contiguous else [[name] for name in candidates]

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.depth import remove_blocks
        from compress.models.structure import recording

        candidates = self.candidates(model, context)
        count = self.wanted(len(candidates))
        chosen = self.by_influence if self.criterion == "block_influence" else self.by_loss
        gone = chosen(model, candidates, count, context)
        with recording(model):
            remove_blocks(model, gone)
            setattr(model, CANDIDATES, len(candidates))
        told = f"{', '.join(gone[:_TOLD])}{', …' if len(gone) > _TOLD else ''}"
        context.notes.append(f"{len(gone)} of {len(candidates)} blocks that could go are gone: {told}")
        return model

    def by_influence(self, model: nn.Module, candidates: list[str], count: int, context: Context) -> list[str]:
        from compress.passes.scoring_blocks import influences

        choices = self.choices(candidates, count)
        scores = influences(model, choices, context)
        ranked = sorted(range(len(choices)), key=lambda place: (scores[place], place))
        taken = ranked[:1] if self.contiguous else ranked[:count]
        return [name for place in sorted(taken) for name in choices[place]]

    def by_loss(self, model: nn.Module, candidates: list[str], count: int, context: Context) -> list[str]:
        from compress.models.depth import without
        from compress.passes.scoring_blocks import loss_of

        loss: Callable[[nn.Module], float] = loss_of(model, context)
        gone: list[str] = []
        while len(gone) < count:
            choices = [gone + more for more in self.choices([n for n in candidates if n not in gone], count)]
            scores = []
            for choice in context.progress(choices, "loss without a block", len(choices)):
                with without(model, choice):
                    scores.append(loss(model))
            gone = choices[min(range(len(choices)), key=scores.__getitem__)]
        return [name for name in candidates if name in gone]

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.structure import num_removed

        gone = num_removed(model)
        wanted = self.wanted(getattr(model, CANDIDATES, 0))
        if gone < wanted:
            raise PromiseBroken(f"{self.name}: {gone} blocks are gone, {wanted} were to go")
