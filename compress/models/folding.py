"""Where the input channels of layers can be scaled for nothing: the inverse scale goes into what makes their input.

A site is one or several linear layers that read one tensor, and its source: a normalisation whose weight (and bias)
can be divided, or a linear layer whose rows can.  x/s · (W·s) is x · W: exact in float.  Attention's and MLP's sites in
a Llama, Gemma or Qwen: input norm → q, k, v; v → o where every head has values of its own; norm → gate, up; up → down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compress.models.blocks import Arguments, BlockWalk, find_blocks, inside, last_holding, run_block, stages
from compress.models.calls import CallGraph, record, tensors
from compress.models.layers import raw_weight
from compress.models.quantized import StoredWeight, stored
from compress.numerics.weight import storable_scales

EXACT = 1e-4  # share of the block's largest output by which a folded block may differ: float32's rounding


@dataclass(frozen=True)
class Site:
    """layers read one tensor, and nothing else does; `source` is the module that makes it.

    offset  what a normalisation adds to its weight before it multiplies by it: 1 in Gemma, else 0.
    """

    source: str
    layers: tuple[str, ...]
    offset: float = 0.0


def find_sites(model: nn.Module, layers: Iterable[str], example: tuple[Tensor, ...]) -> list[Site]:
    """The sites among the linear `layers`, in the order they run: each was tried on the example and proved exact."""
    graph = record(model, *example)
    blocks = find_blocks(model, graph=graph)
    walk = BlockWalk(model, blocks, [example], graph)
    wanted = {name for name in layers if isinstance(model.get_submodule(name), nn.Linear)}
    found = []
    for block in blocks[: last_holding(blocks, wanted) + 1]:
        inputs = walk.inputs(block)
        mine = [name for name in wanted if inside(name, block)]
        if mine:
            expected = tensors(run_block(model, block, inputs))
            for group in (group for stage in stages(graph, mine) for group in stage):
                tried = (
                    site for site in _candidates(model, graph, group) if _exact(model, block, inputs, expected, site)
                )
                found += list(tried)[:1]
        walk.done(block, run_block(model, block, inputs))
    return found


def fold(model: nn.Module, site: Site, scale: Tensor) -> None:
    """Divide what the source gives by `scale` [K], and multiply the layers' input columns by it.

    The layers must still be float; rows of a quantized source are divided in its scales, as float16 holds them.
    """
    with torch.no_grad():
        source = model.get_submodule(site.source)
        weight, part = raw_weight(source), stored(source)
        assert weight is not None
        over = scale.reshape(-1, *[1] * (weight.dim() - 1))
        weight.copy_((weight + site.offset) / over - site.offset)
        if part is not None:
            _divide_rows(part, scale)
        if isinstance(getattr(source, "bias", None), Tensor):
            source.bias.div_(scale)  # type: ignore[operator]
        for name in site.layers:
            own = raw_weight(model.get_submodule(name))
            assert own is not None
            own.mul_(scale)


def _divide_rows(part: StoredWeight, scale: Tensor) -> None:
    if part.scales.shape[0] == 1:  # one scale a tensor
        part.scales = part.scales.expand(len(scale), -1).clone()
    part.scales = storable_scales(part.scales / scale[:, None])
    if part.float_bias is not None:
        part.float_bias = part.float_bias / scale


def _candidates(model: nn.Module, graph: CallGraph, group: list[str]) -> list[Site]:
    """What may be the source of a group of layers that read one tensor."""
    first = next(call for call in graph if call.module == group[0] and call.function == "linear")
    made = graph.calls.get(first.inputs[0])
    if made is None or any(call.module not in group for call in graph.consumers(made.key)):
        return []
    columns = in_features(model, group[0])
    module = model.get_submodule(made.module)
    weight = raw_weight(module)
    if weight is not None and weight.shape == (columns,) and not isinstance(module, nn.Linear):
        return [Site(made.module, tuple(group), offset) for offset in (0.0, 1.0)]
    parent = group[0].rpartition(".")[0]
    sources = [name for name in _upstream(graph, made.key) if name.rpartition(".")[0] == parent]
    return [Site(name, tuple(group)) for name in sources if out_features(model, name) == columns]


def in_features(model: nn.Module, name: str) -> int:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer.in_features


def out_features(model: nn.Module, name: str) -> int:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer.out_features


def _upstream(graph: CallGraph, key: str) -> list[str]:
    """The linear layers whose result reaches a call through no other layer."""
    found, left, seen = [], [key], set()
    while left:
        call = graph.calls.get(left.pop())
        if call is None or call.key in seen:
            continue
        seen.add(call.key)
        if call.function == "linear":
            found.append(call.module)
        else:
            left += call.inputs
    return found


def _exact(model: nn.Module, block: str, inputs: list[Arguments], expected: list[Tensor], site: Site) -> bool:
    """Whether the block gives the same after folding; leaves the model as it was."""
    layers = [model.get_submodule(name) for name in site.layers]
    if not inside(site.source, block) or any(stored(layer) is not None for layer in layers):
        return False
    source = model.get_submodule(site.source)
    kept = [(tensor, tensor.detach().clone()) for module in (source, *layers) for tensor in module.parameters()]
    part = stored(source)
    buffers = None if part is None else (part.scales, part.float_bias)
    columns = in_features(model, site.layers[0])
    scale = torch.empty(columns).uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(0))
    if part is not None:  # quantized rows are divided without a remainder
        scale = torch.full_like(scale, 2.0)
        scale[::2] = 0.5
    fold(model, site, scale)
    given = tensors(run_block(model, block, inputs))
    with torch.no_grad():
        for tensor, before in kept:
            tensor.copy_(before)
    if part is not None and buffers is not None:
        part.scales, part.float_bias = buffers
    return all(float((a - b).abs().max()) <= EXACT * float(b.abs().max()) for a, b in zip(given, expected, strict=True))
