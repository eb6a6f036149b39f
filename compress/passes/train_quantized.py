"""train.quantized: quantization-aware training with learned step sizes (LSQ, Esser et al. 2020, arXiv:1902.08153), or
with ranges that are observed while training (Jacob et al. 2018, arXiv:1712.05877)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Interval

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, register
from compress.passes.quantize_ternary import IN_FOURS, PACKINGS, Ternary, group_problems, require_fours
from compress.passes.rounding import refuse_masked
from compress.passes.training import TaughtPass

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.activations import QuantizedActivation
    from compress.models.layers import Weighted
    from compress.numerics.weight import QuantizedWeight
    from compress.targets import Target
    from compress.training.phase import Phase


@register("train.quantized")
@dataclass(frozen=True)
class TrainQuantized(TaughtPass):
    """Train weights, and activations if asked for, on the grids that they are stored on.

    num_bits         bits of a weight: 2 to 8, or ternary as in quantize.ternary: 1.6, or 1.25 and 1.33, of which every
                     four neighbours keep three.
    edge_bits        bits of the first and the last layer, weights and inputs; null: as all others.
    targets          which convolutions and linear layers: names, globs, 're:…' or 'role:…'; embeddings by a selector
                     that means nothing else.
    ignore           which of them not; a layer that an earlier pass quantized keeps its codes.
    midrise          levels at ±½, ±1½, … steps, none of them zero: the better grid of 2 bits.
    strategy         one scale an output channel, or a group of neighbouring inputs of a channel.
    group_size       inputs that share a scale, with strategy 'group'.
    activation_bits  bits of activations; null: they stay float. With 8, all tensors that int8 kernels meet are on a
                     grid; with fewer, the inputs of the layers are, each for itself.
    ranges           'learned': the scales of activations are trained; 'observed': their ranges follow averages of what
                     training shows.
    scale_rate       learning rate of the learned scales at its highest; null: a tenth of learning_rate, since all
                     weights of a scale move it, and throw it about at their own rate.
    freeze           share of the training after which ranges and normalisations' statistics stay as they are; null:
                     they never do.

    Scales of weights of more than 4 bits are not learned: the largest weight of each lies on its last code.
    Normalisations are folded into their layers when training ends, which changes no code.
    """

    num_bits: Annotated[int, Interval(ge=2, le=8)] | Ternary = 8
    edge_bits: Annotated[int, Interval(ge=2, le=8)] | None = 8
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()
    midrise: bool = False
    strategy: Literal["channel", "group"] = "channel"
    group_size: Annotated[int, Ge(2)] | None = None
    activation_bits: Annotated[int, Interval(ge=2, le=8)] | None = None
    ranges: Literal["learned", "observed"] = "learned"
    scale_rate: Annotated[float, Gt(0)] | None = None
    freeze: Annotated[float, Interval(gt=0, le=1)] | None = None

    @property
    def rate_of_scales(self) -> float:
        return self.learning_rate / 10 if self.scale_rate is None else self.scale_rate

    def selectors(self) -> tuple[str, ...]:
        return (*super().selectors(), *self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        found = [*super().problems(target), *selector_problems((*self.targets, *self.ignore))]
        for key in ("num_bits", "edge_bits"):
            bits = getattr(self, key)
            stored = 2 if bits in PACKINGS else bits  # ternary weights run as 2 bits
            if bits is not None and stored not in target.weight_bits:
                known = ", ".join(map(str, target.weight_bits))
                found.append(f"{key} is {bits}: target {target.name} takes weights of {known} bits")
        if self.strategy not in target.granularities:
            known = ", ".join(target.granularities)
            found.append(f"strategy is '{self.strategy}': target {target.name} takes scales per {known}")
        refused = None if self.activation_bits is None else target.refuses_activations(self.activation_bits)
        if refused:
            found.append(f"activation_bits is {self.activation_bits}: {refused}")
        elif self.activation_bits is not None and target.is_symmetric:
            told = f"target {target.name} runs activations with zero point 0 alone, and trained grids have others"
            found.append(
                f"activation_bits is {self.activation_bits}: {told}: write null, and quantize.static behind it"
            )
        if (self.strategy == "group") != (self.group_size is not None):
            found.append("strategy 'group' and group_size go together: give both, or neither")
        found += group_problems(self.num_bits, self.group_size)
        if self.midrise and (self.num_bits in PACKINGS or self.num_bits == 8):
            found.append("midrise is for weights of 2 to 7 bits")
        if self.activation_bits == 8 and self.strategy == "group":
            found.append("activation_bits 8 is for int8 kernels, which take a scale a channel: strategy 'channel'")
        return found

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.training.quantizing import trains_activations

        layers, edges = self.layers(model), self.edges(model)
        for name, layer in layers.items():
            if name not in edges and self.num_bits in IN_FOURS:
                require_fours(self.name, name, layer)
            elif self.midrise:
                refuse_masked(self.name, name, layer)
        if not layers:
            raise ModelError(f"{self.name}: every layer that is selected is quantized already")
        if self.activation_bits is not None and trains_activations(model):
            raise ModelError(
                f"{self.name}: activations are on grids that another pass trains: let one train all of them"
            )

    def layers(self, model: nn.Module) -> dict[str, Weighted]:
        """The selected layers that are still float."""
        from compress.models.layers import select
        from compress.models.learned_grids import learned_grid
        from compress.models.quantized import stored

        chosen = select(model, self.targets, self.ignore, embeddings=True)
        return {name: each for name, each in chosen.items() if stored(each) is None and learned_grid(each) is None}

    def edges(self, model: nn.Module) -> dict[str, int]:
        """The first and the last layer, with their bits; none if they have those of all others."""
        from compress.models.layers import weighted_layers

        names = list(weighted_layers(model))
        return {} if self.edge_bits is None else dict.fromkeys((names[0], names[-1]), self.edge_bits)

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        from torch import nn

        from compress.training.quantizing import LearnGrids

        layers = self.layers(model)
        edges = self.edges(model)
        taught = self.taught(model, context)  # whose teacher is met before the student's grids
        runs = {name for name, layer in layers.items() if not isinstance(layer, nn.Embedding)}
        pairs, table, keys = self.activations(model, runs, edges, context)
        observe = self.ranges == "observed"
        first = {name: (layer, self.grid(layer.weight, edges.get(name))) for name, layer in layers.items()}
        return [*taught, LearnGrids(model, first, table, pairs, keys, observe, self.freeze)]

    def grid(self, weight: Tensor, edge_bits: int | None = None) -> QuantizedWeight:
        """Where the training of a weight begins; edge_bits: of the first or the last layer, if these have others."""
        from compress.numerics.grid import nearest
        from compress.numerics.ternary import ternary

        if edge_bits is None and self.num_bits in PACKINGS:
            return ternary(weight, PACKINGS[self.num_bits], self.group_size)
        midrise = self.midrise and edge_bits is None
        return nearest(weight, edge_bits or int(self.num_bits), self.group_size, midrise=midrise)

    def activations(
        self, model: nn.Module, layers: set[str], edges: Mapping[str, int], context: Context
    ) -> tuple[list[tuple[str, str]], dict[str, QuantizedActivation], dict[str, str]]:
        """What can be folded; the first grids of activations by their keys in the model as it is; these keys → those
        of the folded model."""
        from compress.models.calls import input_of, record
        from compress.passes.activation_ranges import find_grids
        from compress.passes.fold_batchnorm import FoldBatchNorm, foldable
        from compress.passes.quantize_static import QuantizeStatic

        pairs = foldable(model, context)
        if self.activation_bits is None:
            return pairs, {}, {}
        if self.activation_bits < 8:
            inputs = {input_of(name): edges.get(name, self.activation_bits) for name in layers}
            return pairs, find_grids(model, inputs, context, self.name), {}
        folded = FoldBatchNorm().apply(copy.deepcopy(model), context)
        found = QuantizeStatic(num_bits=8).ranges(folded, layers, context)
        plain = [call for call in record(model, *context.example()) if call.function != "batch_norm"]
        after = list(record(folded, *context.example()))
        if [call.function for call in plain] != [call.function for call in after]:
            raise ModelError(f"{self.name}: folding changes the order of the model's calls: put fold.batchnorm before")
        norms = dict(pairs)
        keys = {}
        for call, same in zip(plain, after, strict=True):
            weighted = call.function in ("conv1d", "conv2d", "linear")
            keys[f"{norms[call.module]}:batch_norm:0" if weighted and call.module in norms else call.key] = same.key
        back = {own: key for key, own in keys.items()}
        return pairs, {back.get(key, key): grid for key, grid in found.items()}, keys

    def restructure(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.passes.fold_batchnorm import FoldBatchNorm

        return FoldBatchNorm().restructure(model, context)

    def finished(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.passes.fold_batchnorm import FoldBatchNorm

        return FoldBatchNorm().apply(model, context)

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.layers import select
        from compress.models.quantized import stored

        for name, layer in select(model, self.targets, self.ignore, embeddings=True).items():
            if stored(layer) is None:
                raise PromiseBroken(f"{self.name}: the weight of {name} is float, {self.num_bits} bits were asked for")
