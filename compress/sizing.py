"""The bytes of an artefact before there is one: its graphs are built, of a model with made-up codes, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.passes import Pass
from compress.passes.base import Context, Room
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.quantize_svd import QuantizeSvd
from compress.passes.quantize_weights import QuantizeWeights
from compress.passes.rounding import RoundingPass
from compress.passes.train_quantized import TrainQuantized
from compress.passes.trim_vocabulary import TrimVocabulary
from compress.planned import planned, restructured
from compress.recipe import Budget

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Weighted
    from compress.numerics.weight import QuantizedWeight

_LARGE = 1 << 25  # weights of a model that are not all rounded for a forecast: that would take minutes


def file_bytes_of(
    model: nn.Module,
    passes: Sequence[Pass],
    context: Context,
    file_bytes: Callable[[nn.Module], int],
    chosen: Mapping[str, QuantizedWeight] | None = None,
) -> int:
    """Forecast of the model files that the passes will give.  Of a pass that shares out the budget, all layers have the
    first choice, but those that are `chosen`.

    file_bytes  of a model that the exporter is given: see `Job.file_bytes`.
    """
    from compress.models.quantized import stored

    now = restructured(model, passes, context)
    layers = stored_layers(now)
    formats = {**weight_formats(passes, now, whole=True), **(chosen or {})}
    own = {name: each for name, each in formats.items() if name in layers}
    dropped = [
        4 * (len(layer.weight) - rows_left(passes, now, layer)) * layer.weight[0].numel()
        for name, layer in layers.items()
        if name not in own and stored(layer) is None
    ]
    return file_bytes(planned(now, passes, own, context)) - sum(dropped)


def weight_bytes(name: str, weight: QuantizedWeight) -> int:
    """Of a layer's weight in the model file, with the nodes that decode it."""
    from compress.exporter.size import weight_bytes

    return weight_bytes(name, weight)


def room_of(
    budget: Budget,
    passes: Sequence[Pass],
    model: nn.Module,
    float_model_bytes: int,
    float_size_bytes: int,
    context: Context,
    file_bytes: Callable[[nn.Module], int],
) -> Room | None:
    """The room that a recipe's budget of bytes leaves; None if it has none.

    model                               as it was loaded.
    float_model_bytes, float_size_bytes  of the float artefact: its model file, and all that ships.
    context                             of the passes.

    Raises ModelError for a budget that what ships beside the model takes alone.
    """
    around = float_size_bytes - float_model_bytes  # tokenizers, configs
    asked = {"model_size": budget.model_size_bytes, "size": budget.size_bytes}
    limits = {key: limit for key, limit in asked.items() if limit is not None}
    if not limits:
        return None
    if budget.size_bytes is not None and budget.size_bytes <= around:
        raise ModelError(
            f"budget.size is {budget.size_bytes:,} bytes: the tokenizer and configs alone take {around:,}: raise it, "
            "or drop tokens with trim.vocabulary"
        )
    allowed = {key: limit - (around if key == "size" else 0) for key, limit in limits.items()}
    binding = min(allowed, key=lambda key: allowed[key])

    def left(now: nn.Module, names: Iterable[str]) -> int:
        formats = weight_formats(passes, now, whole=True)
        shared_out = set(names) & set(stored_layers(now))
        taken = file_bytes_of(now, passes, context, file_bytes)
        taken -= sum(weight_bytes(name, formats[name]) for name in shared_out)
        if taken >= allowed[binding]:
            told = f" and its tokenizer and configs {around:,}" if binding == "size" else ""
            raise ModelError(
                f"budget.{binding} is {limits[binding]:,} bytes: what is not shared out takes {taken:,} already"
                f"{told}: raise it, or store the rest in fewer bits"
            )
        return allowed[binding] - taken

    def excess(now: nn.Module, chosen: Mapping[str, QuantizedWeight]) -> int:
        return file_bytes_of(now, passes, context, file_bytes, chosen) - allowed[binding]

    return Room(limits[binding], weight_bytes, left, excess)


def weight_formats(passes: Sequence[Pass], model: nn.Module, *, whole: bool = False) -> dict[str, QuantizedWeight]:
    """How each weight would be stored at the end, by layer: of the right shapes, every row as the first one's.

    whole  all rows are rounded, as one with a small scale decides in what type all scales of its layer are stored; not
           in a large model, where it would take minutes.

    Of a pass that shares out the budget each has the first choice.
    """
    from compress.models.layers import select
    from compress.numerics.grid import nearest

    whole = whole and sum(layer.weight.numel() for layer in stored_layers(model).values()) <= _LARGE
    formats: dict[str, QuantizedWeight] = {}
    passes = [step.steps()[0] if isinstance(step, QuantizeWeights) else step for step in passes]
    for step in passes:
        if isinstance(step, RoundingPass | QuantizeStatic | QuantizeDynamic | TrainQuantized):
            edges = step.edges(model) if isinstance(step, TrainQuantized) else {}
            if isinstance(step, RoundingPass):
                layers = step.chosen(model)
            else:
                embeddings = isinstance(step, TrainQuantized)
                layers = dict(select(model, step.targets, step.ignore, embeddings=embeddings))
            for name, layer in layers.items():
                if name not in formats:  # the codes of the first pass stay
                    rows = rows_left(passes, model, layer)
                    weight = layer.weight.detach()[: rows if whole else 2]
                    if isinstance(step, RoundingPass):
                        grid = step.nearest(weight)
                    elif isinstance(step, TrainQuantized):
                        grid = step.grid(weight, edges.get(name))
                    else:
                        grid = nearest(weight, 8)
                    formats[name] = grid if whole else _with_rows(grid, rows)
    return formats


def branch_bytes(passes: Sequence[Pass], model: nn.Module) -> dict[str, int]:
    """Of the float branches that passes put beside layers, by layer."""
    steps = [step for step in passes if isinstance(step, QuantizeSvd)]
    return {name: size for step in steps for name, size in step.branch_bytes(model).items()}


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
    """The format of two rows, for `rows` of them: to find the scales of millions would take minutes."""

    def repeated(part: Tensor | None) -> Tensor | None:
        if part is None or part.shape[0] == 1:  # one for the whole tensor
            return part
        return part[:1].expand(rows, *part.shape[1:])

    codes, scales = grid.codes[:1].expand(rows, *grid.codes.shape[1:]), repeated(grid.scales)
    assert scales is not None  # every weight has some
    return replace(
        grid, codes=codes, scales=scales, zero_points=repeated(grid.zero_points), multipliers=repeated(grid.multipliers)
    )
