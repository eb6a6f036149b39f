"""factorize: linear layers become two thin ones, cut where the layer's output loses the least (SVD-LLM, Wang et al.
2024, arXiv:2403.07378; the idea of weighing by activations: ASVD, Yuan et al. 2023, arXiv:2312.05821)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Interval

from compress.errors import PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn

    from compress.models.layers import Layer, Weighted
    from compress.models.statistics import Gram
    from compress.targets import Target


@register("factorize")
@dataclass(frozen=True)
class Factorize(Pass):
    """Make linear layers (and 1×1 convolutions) of low rank: two thin ones where that saves weights.

    rank     of each layer; this, ratio or energy.
    ratio    share of each layer's weights that is left.
    energy   share of the squared output of each layer, on calibration data, that is kept at least.
    targets  which layers: names, globs, 're:…' or 'role:…'; no embeddings, nor heads that are tied to one.
    ignore   which of them not.
    damping  share of the mean diagonal of the inputs' moments that is added to it.

    A layer for which the rank saves nothing stays whole.  The two layers are named NAME.0 and NAME.1: later passes
    select them by the layer's name, or as 're:NAME', not by 're:NAME$'.
    """

    lasts_through_training: ClassVar[bool] = True

    rank: Annotated[int, Ge(1)] | None = None
    ratio: Annotated[float, Interval(gt=0, lt=1)] | None = None
    energy: Annotated[float, Interval(gt=0, lt=1)] | None = None
    targets: tuple[str, ...] = ("role:linear",)
    ignore: tuple[str, ...] = ()
    damping: Annotated[float, Interval(gt=0, le=1)] = 0.01

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        if sum(value is not None for value in (self.rank, self.ratio, self.energy)) != 1:
            problems.append("give one of rank (such as 64), ratio (a share, such as 0.5) and energy (such as 0.99)")
        return problems

    def layers(self, model: nn.Module) -> dict[str, Weighted]:
        """The selected layers; of those that are factors already the second, under the name of both."""
        from compress.models.low_rank import select_whole

        return select_whole(model, self.targets, self.ignore)

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.passes.matrices import check_matrices

        check_matrices(self.name, model, self.layers(model))

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.layers import weighted_layers
        from compress.numerics.low_rank import num_parameters
        from compress.passes.calibrating import grams_by_block, torch_no_grad

        mine = self.layers(model)
        layers = {name: layer for name, layer in weighted_layers(model).items() if name in mine}
        before = sum(layer.weight.numel() for layer in layers.values())
        after, num_made = before, 0
        for names, gram in grams_by_block(model, layers, context, "factorizing by blocks"):
            for name in names:
                outputs, inputs = layers[name].weight.shape[:2]
                with torch_no_grad():
                    rank = self.factorize(model, name, layers[name], gram)
                if rank is not None:
                    num_made += 1
                    after += num_parameters(outputs, inputs, rank) - outputs * inputs
        context.notes.append(
            f"{num_made} of {len(layers)} layers are of low rank: {after:,} of {before:,} weights are left"
        )
        return model

    def factorize(self, model: nn.Module, name: str, layer: Layer, gram: Gram) -> int | None:
        """Make one layer two; returns their rank, or None where that saves nothing."""
        from compress.models.low_rank import factorize
        from compress.numerics.low_rank import whitened_svd

        outputs, inputs = layer.weight.shape[:2]
        rank = self.rank_of(outputs, inputs)
        if rank is not None and not saves(outputs, inputs, rank):
            return None
        spectrum = whitened_svd(layer.weight.reshape(outputs, inputs), gram.hessian()[0], self.damping)
        if rank is None:
            assert self.energy is not None  # as `problems` has seen
            rank = spectrum.rank_of(self.energy)
            if not saves(outputs, inputs, rank):
                return None
        factorize(model, name, *spectrum.factors(rank))
        return rank

    def rank_of(self, outputs: int, inputs: int) -> int | None:
        """The rank of a layer by its shape; None where its inputs decide."""
        from compress.numerics.low_rank import rank_of_share

        return self.rank if self.ratio is None else rank_of_share(outputs, inputs, self.ratio)

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.low_rank import LowRank

        for name, layer in self.layers(model).items():
            pair = model.get_submodule(name)
            if isinstance(pair, LowRank):
                outputs, inputs, found = pair.sizes
                asked = self.rank_of(outputs, inputs)
                if not saves(outputs, inputs, found) or (asked is not None and found > asked):
                    told = "one that saves weights" if asked is None else str(asked)
                    raise PromiseBroken(f"{self.name}: {name} is of rank {found}, {told} was asked for")
            else:
                outputs, inputs = layer.weight.shape[:2]
                asked = self.rank_of(outputs, inputs)
                if asked is not None and saves(outputs, inputs, asked):
                    raise PromiseBroken(f"{self.name}: {name} is whole, rank {asked} was asked for")


def saves(outputs: int, inputs: int, rank: int) -> bool:
    """Whether two factors of a rank have fewer weights than the matrix."""
    from compress.numerics.low_rank import num_parameters

    return num_parameters(outputs, inputs, rank) < outputs * inputs
