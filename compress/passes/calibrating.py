"""How calibrated rounding meets a model: embeddings as the heads that they also are, then block after block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from compress.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from compress.models.kept_blocks import KeptBlocks
    from compress.models.layers import Layer, Weighted
    from compress.models.statistics import Gram
    from compress.numerics.weight import QuantizedWeight
    from compress.passes.base import Context


def embeddings_first(
    model: nn.Module,
    layers: Mapping[str, Weighted],
    context: Context,
    rounded: Callable[[Layer, Gram], QuantizedWeight],
    nearest: Callable[[Weighted], QuantizedWeight],
) -> dict[str, Layer]:
    """Quantize the embeddings among `layers`: those tied to a head on the head's inputs, the others to `nearest`.

    Returns what is left: they run before all else, so that the other layers are calibrated on what they give.
    """
    from torch import nn

    from compress.models.kept_blocks import KeptBlocks
    from compress.models.quantized import set_weight, stored

    kept = KeptBlocks(model, context.directory)
    for name, table in layers.items():
        if not isinstance(table, nn.Embedding) or stored(table) is not None:
            continue
        if kept.take(name) is not None:
            continue
        head = _head_of(layers, name)
        if head is None:
            set_weight(table, nearest(table), model)
            continue
        with torch_no_grad():
            set_weight(table, rounded(head[1], _head_gram(model, *head, context)), model)
        kept.keep(name)
    return {n: layer for n, layer in layers.items() if not isinstance(layer, nn.Embedding) and stored(layer) is None}


def grams_of_float(
    model: nn.Module, layers: Mapping[str, Weighted], context: Context, doing: str
) -> Iterator[tuple[str, tuple[Layer, Gram] | None]]:
    """Each of `layers` but heads that are tied to one of them: the layer that it is calibrated as, with the second
    moments of its inputs while nothing is rounded; None for embeddings that are no heads."""
    from torch import nn

    heads = {name: _head_of(layers, name) for name, layer in layers.items() if isinstance(layer, nn.Embedding)}
    for name, head in heads.items():
        yield name, None if head is None else (head[1], _head_gram(model, *head, context))
    taken = {head[0] for head in heads.values() if head is not None}
    others = {n: layer for n, layer in layers.items() if not isinstance(layer, nn.Embedding) and n not in taken}
    for names, gram in grams_by_block(model, others, context, doing):
        for name in names:
            yield name, (others[name], gram)


def _head_of(layers: Mapping[str, Weighted], embedding: str) -> tuple[str, Layer] | None:
    """The head among `layers` that an embedding is tied to."""
    from torch import nn

    from compress.models.layers import tied

    heads = ((name, layers[name]) for name in tied(layers, embedding))
    return next(((name, layer) for name, layer in heads if isinstance(layer, nn.Linear)), None)


def _head_gram(model: nn.Module, name: str, head: Layer, context: Context) -> Gram:
    from torch.nn.utils import parametrize

    from compress.models.blocks import Reached
    from compress.models.calls import forward
    from compress.models.statistics import collect

    batches = list(context.batches())
    with collect({name: head}, 1) as grams, parametrize.cached():
        for batch in context.progress(batches, "inputs of the head", len(batches)):
            try:
                with torch_no_grad():
                    forward(model, *batch)
            except Reached:
                continue
    return grams[name]


def by_block(
    model: nn.Module,
    layers: Mapping[str, Layer],
    context: Context,
    rounded: Callable[[Layer, Gram], QuantizedWeight],
) -> None:
    """Quantize block after block, each layer on the inputs that the quantized layers before it give.

    A killed run goes on behind the last whole block.
    """
    from compress.models.kept_blocks import KeptBlocks
    from compress.models.quantized import set_weight

    kept = KeptBlocks(model, context.directory)
    for names, gram in grams_by_block(model, layers, context, kept=kept):
        for name in names:
            with torch_no_grad():
                set_weight(layers[name], rounded(layers[name], gram), model)


def grams_by_block(
    model: nn.Module,
    layers: Mapping[str, Layer],
    context: Context,
    doing: str = "rounding by blocks",
    kept: KeptBlocks | None = None,
) -> Iterator[tuple[list[str], Gram]]:
    """The layers that read one tensor alike, with the second moments of it, in the order in which they can be decided.

    What is done to a layer when it comes is what later ones are calibrated on.  A block runs once for each stage of it
    (q, k, v; o; gate, up; down), and only as far as that stage.

    kept: what was decided of blocks before, which do not come again, and is of those that come.
    """
    from compress.models.blocks import WEIGHTED, BlockWalk, find_blocks, inside, last_holding, run_block, stages
    from compress.models.calls import record
    from compress.models.statistics import collect

    graph = record(model, *context.example())
    blocks = find_blocks(model, graph=graph)
    runs = Counter(call.module for call in graph if call.function in WEIGHTED)
    for name in layers:
        if not runs[name]:
            raise ModelError(f"{name} did not run on the calibration data: put it under 'ignore'")
    walk = BlockWalk(model, blocks, list(context.batches()), graph)
    last = last_holding(blocks, layers)
    for number in context.progress(range(last + 1), doing, last + 1):
        block, inputs = blocks[number], walk.inputs(blocks[number])
        known = kept is not None and kept.take(block) is not None
        for sharing in [] if known else stages(graph, [name for name in layers if inside(name, block)]):
            stage = [names for group in sharing for names in alike(layers, group)]
            first = {names[0]: layers[names[0]] for names in stage}
            with collect(first, sum(runs[name] for name in first)) as grams:
                run_block(model, block, inputs)
            for names in stage:
                yield names, grams[names[0]]
        if kept is not None and not known:
            kept.keep(block)
        if number < last:  # the outputs of a head are large
            walk.done(block, run_block(model, block, inputs))


def alike(layers: Mapping[str, Layer], names: list[str]) -> list[list[str]]:
    """Of layers that read one tensor, those together that cut the same vectors out of it: not a 3×3 convolution and
    the 1×1 of a shortcut."""
    from torch import nn

    found: dict[tuple[object, ...], list[str]] = {}
    for name in names:
        layer = layers[name]
        cut: tuple[object, ...] = ()
        if not isinstance(layer, nn.Linear):
            cut = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
        found.setdefault(cut, []).append(name)
    return list(found.values())


def torch_no_grad() -> AbstractContextManager[None]:
    import torch

    return torch.no_grad()
