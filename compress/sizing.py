"""The bytes of an artefact before there is one: counted from the format that each weight will have.

Weights are exact (codes, scales, zero points); the nodes around them are counted by what one takes in general, and all
else is what the float model's file has beside its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.passes import Pass
from compress.passes.base import Room
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.quantize_weights import QuantizeWeights
from compress.passes.rounding import RoundingPass
from compress.passes.train_quantized import TrainQuantized
from compress.passes.trim_vocabulary import TrimVocabulary
from compress.recipe import Budget

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Weighted
    from compress.numerics.weight import QuantizedWeight

# Of the file beside the weights, by the calls of a forward: measured on EfficientNet-Lite0.
NODE_BYTES = 150
QUANTIZED_NODE_BYTES = 450  # with QuantizeLinear and DequantizeLinear before and after
# Of the nodes that decode a weight of less than 8 bits; 280 to 720 on a small ResNet, whose rows groups divide.
DECODER_BYTES = 1_500
EIGHT_BIT_BYTES = 200  # of those that decode 8 bits


def weight_bytes(weight: QuantizedWeight) -> int:
    """Of a weight in the model file, with the nodes that decode it."""
    from compress.exporter.codecs import stored_bytes

    return stored_bytes(weight) + (DECODER_BYTES if weight.num_bits < 8 else EIGHT_BIT_BYTES)


def room_of(
    budget: Budget, passes: Sequence[Pass], model: nn.Module, float_model_bytes: int, float_size_bytes: int
) -> Room | None:
    """The room that a recipe's budget of bytes leaves; None if it has none.

    model                               as it was loaded.
    float_model_bytes, float_size_bytes  of the float artefact: its model file, and all that ships.
    """
    around = float_size_bytes - float_model_bytes  # tokenizers, configs
    asked = {"model_size": budget.model_size_bytes, "size": budget.size_bytes}
    limits = {key: limit for key, limit in asked.items() if limit is not None}
    if not limits:
        return None
    allowed = {key: limit - (around if key == "size" else 0) for key, limit in limits.items()}
    binding = min(allowed, key=lambda key: allowed[key])
    rest = float_model_bytes - sum(4 * layer.weight.numel() for layer in stored_layers(model).values())
    if any(isinstance(step, QuantizeStatic) for step in passes):
        rest += (QUANTIZED_NODE_BYTES - NODE_BYTES) * sum(1 for _ in model.modules())

    def left(now: nn.Module, names: Iterable[str]) -> int:
        from compress.models.quantized import stored

        formats, shared_out, taken = weight_formats(passes, now), set(names), rest
        for name, layer in stored_layers(now).items():
            if name not in shared_out:
                part = stored(layer)
                weight = formats.get(name) if part is None else part.quantized
                taken += 4 * layer.weight.numel() if weight is None else weight_bytes(weight)
        if taken >= allowed[binding]:
            told = f" and its tokenizer and configs {around:,}" if binding == "size" else ""
            raise ModelError(
                f"budget.{binding} is {limits[binding]:,} bytes: what is not shared out takes {taken:,} already"
                f"{told}: raise it, or store the rest in fewer bits"
            )
        return allowed[binding] - taken

    return Room(limits[binding], weight_bytes, left)


def weight_formats(passes: Sequence[Pass], model: nn.Module) -> dict[str, QuantizedWeight]:
    """How each weight would be stored at the end, by layer: of the right shapes, its codes all zero.

    Of a pass that shares out the budget each has the first choice.
    """
    from compress.models.layers import select
    from compress.numerics.grid import nearest

    formats: dict[str, QuantizedWeight] = {}
    passes = [step.steps()[0] if isinstance(step, QuantizeWeights) else step for step in passes]
    for step in passes:
        if isinstance(step, RoundingPass | QuantizeStatic | QuantizeDynamic | TrainQuantized):
            embeddings = isinstance(step, RoundingPass | TrainQuantized)
            edges = step.edges(model) if isinstance(step, TrainQuantized) else {}
            for name, layer in select(model, step.targets, step.ignore, embeddings=embeddings).items():
                if name not in formats:  # the codes of the first pass stay
                    two_rows = layer.weight.detach().new_zeros((2, *layer.weight.shape[1:]))
                    if isinstance(step, RoundingPass):
                        grid = step.nearest(two_rows)
                    elif isinstance(step, TrainQuantized):
                        grid = step.grid(two_rows, edges.get(name))
                    else:
                        grid = nearest(two_rows, 8)
                    formats[name] = _with_rows(grid, rows_left(passes, model, layer))
    return formats


def rows_left(passes: Sequence[Pass], model: Any, layer: Weighted) -> int:
    """Rows of a weight, after the passes: of a vocabulary that is trimmed, as many as it may keep."""
    from compress.models.vocabulary import vocabulary_size

    rows = int(layer.weight.shape[0])
    limits = [step.vocab_size for step in passes if isinstance(step, TrimVocabulary) and step.vocab_size]
    if not limits or rows != vocabulary_size(model):
        return rows
    return min(rows, *limits)


def stored_layers(model: nn.Module) -> dict[str, Weighted]:
    """The layers whose weights are stored: of those that share one weight, the first."""
    from compress.models.layers import raw_weight, weighted_layers

    first: dict[int, str] = {}
    layers = weighted_layers(model, embeddings=True)
    return {name: layer for name, layer in layers.items() if first.setdefault(id(raw_weight(layer)), name) == name}


def _with_rows(grid: QuantizedWeight, rows: int) -> QuantizedWeight:
    """The format of two rows, for `rows` of them: to find the scales of millions of zeros would take minutes."""

    def repeated(part: Tensor | None) -> Tensor | None:
        if part is None or part.shape[0] == 1:  # one for the whole tensor
            return part
        return part[:1].expand(rows, *part.shape[1:])

    codes, scales = grid.codes[:1].expand(rows, *grid.codes.shape[1:]), repeated(grid.scales)
    assert scales is not None  # every weight has some
    return replace(
        grid, codes=codes, scales=scales, zero_points=repeated(grid.zero_points), multipliers=repeated(grid.multipliers)
    )
