"""What the prune passes share: which layers, how much of them, and the promise that it stays so.

An earlier pass's mask stays: what is pruned already counts, and goes before all else.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Interval

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Layer, Weighted
    from compress.models.statistics import Gram
    from compress.targets import Target


@dataclass(frozen=True)
class Prune(Pass):
    """The fields of every prune pass.

    sparsity  share of the weights that become zero; this or pattern.
    pattern   N:M, such as 2:4: of every M neighbouring input channels of an output (of a convolution: at one place of
              its kernel), N are kept.
    targets   which convolutions and linear layers: names, globs, 're:…' or 'role:…'; no embeddings.
    ignore    which of them not.
    scope     among which weights those that matter least go.
    """

    sparsity: Annotated[float, Interval(gt=0, lt=1)] | None = None
    pattern: str | None = None
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()
    scope: Literal["row", "layer", "global"] = "layer"

    takes_embeddings = False  # no field: without a type
    lasts_through_training: ClassVar[bool] = True

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        if (self.sparsity is None) == (self.pattern is None):
            problems.append("give one of sparsity (a share, such as 0.5) and pattern (such as 2:4)")
        if self.pattern is not None and self.groups() is None:
            problems.append(f"pattern is '{self.pattern}': write N:M with N below M, such as 2:4: N of M are kept")
        if self.pattern is not None and self.scope != type(self).scope:
            problems.append(f"scope is '{self.scope}': a pattern holds in every group, so leave scope out")
        return problems

    def groups(self) -> tuple[int, int] | None:
        """(N, M) of the pattern: of every M weights N are kept; None if there is none, or no such."""
        found = re.fullmatch(r"([1-9]\d{0,3}):([1-9]\d{0,3})", self.pattern or "")
        if found is None or int(found[1]) >= int(found[2]):
            return None
        return int(found[1]), int(found[2])

    def layers(self, model: nn.Module) -> dict[str, Weighted]:
        """The selected layers; of those that share one weight, the first."""
        from compress.models.layers import raw_weight, select

        chosen = select(model, self.targets, self.ignore, embeddings=self.takes_embeddings)
        first: dict[int, str] = {}
        return {name: layer for name, layer in chosen.items() if first.setdefault(id(raw_weight(layer)), name) == name}

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.finite import refuse_infinite
        from compress.models.quantized import stored

        groups = self.groups()
        for name, layer in self.layers(model).items():
            if stored(layer) is not None:
                raise ModelError(
                    f"{self.name}: the weight of {name} is quantized already: put it before the quantize passes"
                )
            refuse_infinite(self.name, name, layer)
            if groups is not None and layer.weight.shape[1] % groups[1]:
                raise ModelError(
                    f"{self.name}: {name} has {layer.weight.shape[1]} input channels for an output, no multiple of "
                    f"{groups[1]}: put it under 'ignore'"
                )

    def mask(self, scores: Tensor) -> Tensor:
        """What is kept of one layer by its scores, of the weight's shape."""
        from compress.numerics.sparsity import in_groups, layer_mask, row_mask

        groups = self.groups()
        if groups is not None:
            return in_groups(scores, *groups)
        assert self.sparsity is not None  # as `problems` has seen
        return (row_mask if self.scope == "row" else layer_mask)(scores, self.sparsity)

    def note(self, model: nn.Module, context: Context) -> None:
        """Tell the log how many weights are zero now: of the layers that were pruned, and of the model."""
        from compress.models.masks import num_pruned

        layers = self.layers(model)
        zeros, count = _zeros(layer.weight for layer in layers.values())
        pruned, whole = num_pruned(model)
        context.notes.append(
            f"{zeros:,} of {count:,} weights in {len(layers)} layers are zero ({_percent(zeros / count)}); "
            f"of the model's {whole:,}, {pruned:,} are pruned ({_percent(pruned / whole)})"
        )

    def ensures(self, model: nn.Module, context: Context) -> None:
        layers = self.layers(model)
        groups = self.groups()
        if groups is not None:
            for name, layer in layers.items():
                self._ensure_groups(name, layer.weight, *groups)
            return
        if self.scope == "global":
            self._ensure_share("weights", *_zeros(layer.weight for layer in layers.values()))
            return
        for name, layer in layers.items():
            if self.scope == "layer":
                self._ensure_share(f"the weights of {name}", *_zeros([layer.weight]))
                continue
            rows = layer.weight.detach().reshape(layer.weight.shape[0], -1)
            zeros = (rows == 0).sum(1)
            least = int(zeros.argmin())
            self._ensure_share(f"the weights in row {least} of {name}", int(zeros[least]), rows.shape[1])

    def _ensure_share(self, whose: str, zeros: int, count: int) -> None:
        from compress.numerics.sparsity import num_to_prune

        assert self.sparsity is not None
        if zeros < num_to_prune(self.sparsity, count):
            asked = f"{_percent(self.sparsity)} were asked for"
            raise PromiseBroken(f"{self.name}: {_percent(zeros / count)} of {whose} are zero, {asked}")

    def _ensure_groups(self, name: str, weight: Tensor, kept: int, size: int) -> None:
        from compress.numerics.sparsity import channels_innermost

        rows = weight.detach().reshape(weight.shape[0], -1)[:, channels_innermost(weight.shape)]
        most = int((rows.reshape(-1, size) != 0).sum(1).max())
        if most > kept:
            raise PromiseBroken(
                f"{self.name}: of {size} neighbouring weights of {name}, {most} are not zero, {self.pattern} was "
                "asked for"
            )


@dataclass(frozen=True)
class CalibratedPrune(Prune):
    """A prune pass that goes block by block, each layer on the inputs that the pruned layers before it give."""

    @abstractmethod
    def decide(self, layer: Layer, gram: Gram) -> tuple[Tensor, Tensor]:
        """The weight of a layer whose inputs have the moments `gram`, and the mask of what is kept, of its shape."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.layers import raw_weight, select
        from compress.passes.calibrating import grams_by_block, torch_no_grad

        mine = self.layers(model)
        layers = {name: layer for name, layer in select(model, self.targets, self.ignore).items() if name in mine}
        for names, gram in grams_by_block(model, layers, context, "pruning by blocks"):
            for name in names:
                with torch_no_grad():
                    weight, mask = self.decide(layers[name], gram)
                    original = raw_weight(layers[name])
                    assert original is not None
                    original.copy_(weight)
                    prune(layers[name], mask, model)
        self.note(model, context)
        return model


def scores_to_go(scores: Tensor, layer: nn.Module) -> Tensor:
    """The scores of a layer's weights, below all others where they are pruned already."""
    import torch

    from compress.models.masks import mask_of
    from compress.numerics.sparsity import FIRST

    mask = mask_of(layer)
    return scores if mask is None else torch.where(mask, scores, FIRST)


def prune(layer: nn.Module, mask: Tensor, model: nn.Module) -> None:
    """Prune what `mask` does not keep, beside what is pruned already."""
    from compress.models.masks import mask_of, set_mask

    before = mask_of(layer)
    set_mask(layer, mask if before is None else mask & before, model)


def _zeros(weights: Iterable[Tensor]) -> tuple[int, int]:
    """How many zeros, of how many weights."""
    counts = list(_counted(weights))
    return sum(zeros for zeros, _ in counts), sum(count for _, count in counts)


def _counted(weights: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    for weight in weights:
        yield weight.numel() - int(weight.count_nonzero()), weight.numel()


def _percent(share: float) -> str:
    """Rounded down, so that what is missing shows; but for what the share cannot say exactly."""
    return f"{math.floor(1000 * share + 1e-6) / 10:.1f} %"
