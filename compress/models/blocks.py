"""The blocks of a model: the units that reconstruction and block-wise calibration work on, in the order they run."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.models.calls import CallGraph, forward, record
from compress.models.layers import weighted_layers
from compress.models.low_rank import Branched, LowRank, whole_name

WEIGHTED = frozenset({"conv1d", "conv2d", "linear"})
Batches = Sequence[tuple[Tensor, ...]]


class Arguments(NamedTuple):
    """What a module was called with."""

    args: tuple[Any, ...]
    keywords: dict[str, Any]


class Reached(Exception):
    """What was wanted of a forward is known: the rest of it is not needed."""


def find_blocks(model: nn.Module, *example: Tensor, graph: CallGraph | None = None) -> list[str]:
    """Names of modules that part the weighted layers among them, in the order of their first call.

    A block is an item of a `Sequential` or `ModuleList` that holds at least two weighted layers and no smaller such
    item: a residual block, a transformer layer.  A layer outside of all blocks is a block of its own, and so is an
    embedding that runs once.

    graph  a recorded forward of the model, in place of an example.
    """
    graph = record(model, *example) if graph is None else graph
    owners = block_owners(model)
    calls = [call.module for call in graph if call.module in owners]
    tables = Counter(call.module for call in graph if call.function == "embedding" and call.module in owners)
    repeated = {module for module, runs in tables.items() if runs > 1 and owners[module] == module}
    return list(dict.fromkeys(owners[module] for module in calls if module not in repeated))


def block_owners(model: nn.Module) -> dict[str, str]:
    """The block of every weighted layer and embedding."""
    layers = weighted_layers(model)
    items = {
        f"{name}.{child}" if name else child
        for name, module in model.named_modules()
        if isinstance(module, nn.Sequential | nn.ModuleList)
        for child, part in module.named_children()
        if not isinstance(part, LowRank | Branched)  # all that is in the place of one layer is one
    }
    large = {item for item in items if sum(inside(layer, item) for layer in layers) >= 2}
    smallest = {item for item in large if not any(other != item and inside(other, item) for other in large)}
    owned = weighted_layers(model, embeddings=True)
    return {
        layer: next((item for item in smallest if inside(layer, item)), whole_name(model, layer)) for layer in owned
    }


def inside(name: str, block: str) -> bool:
    return name == block or name.startswith(block + ".")


def last_holding(blocks: Sequence[str], layers: Iterable[str]) -> int:
    """The number of the last block that holds one of the layers; −1 for none."""
    owners = [number for number, block in enumerate(blocks) if any(inside(n, block) for n in layers)]
    return max(owners, default=-1)


class BlockWalk:
    """Inputs and outputs of one block after the other, each block computed once for each batch.

    Blocks that are done answer from a cache, so that reaching the next one costs only what lies between them; an
    output is dropped as soon as no later block reads it, so that memory stays near one block.
    """

    def __init__(
        self, model: nn.Module, blocks: Sequence[str], batches: Batches, graph: CallGraph | None = None
    ) -> None:
        self.model, self.blocks, self.batches = model, list(blocks), batches
        graph = record(model, *(tensor[:1] for tensor in batches[0])) if graph is None else graph
        self.last_use = last_uses(graph, self.blocks)
        self.outputs: dict[str, list[Any]] = {}

    @torch.no_grad()
    def inputs(self, block: str) -> list[Arguments]:
        """The arguments of `block` for each batch; all blocks before it must be done."""
        found: list[Arguments] = []

        def stop(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            found.append(positional(module, arguments, keywords))
            raise Reached

        handle = self.model.get_submodule(block).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            with parametrize.cached():
                for number, batch in enumerate(self.batches):
                    with self._answering(number):
                        try:
                            forward(self.model, *batch)
                        except Reached:
                            continue
                    raise RuntimeError(f"block {block} did not run")
        finally:
            handle.remove()
        return found

    def done(self, block: str, outputs: list[Any]) -> None:
        """`block` gave these outputs, one for each batch."""
        self.outputs[block] = outputs
        now = self.blocks.index(block)
        for name in self.outputs:
            if self.last_use[name] <= now:
                self.outputs[name] = [mapped(_hollow, output) for output in self.outputs[name]]

    @contextmanager
    def _answering(self, number: int) -> Iterator[None]:
        modules = {name: self.model.get_submodule(name) for name in self.outputs}
        for name, module in modules.items():
            module.forward = _Answer(self.outputs[name][number])
        try:
            yield
        finally:
            for module in modules.values():
                del module.forward


class _Answer:
    """A forward that gives a known output; a copy, since what follows may work in place (`relu_`, `+=`)."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return mapped(torch.clone, self.output)


def stages(graph: CallGraph, layers: Iterable[str]) -> list[list[list[str]]]:
    """The layers in the order in which one can be decided after the other, [stage][inputs][layer].

    No layer reads what another of its stage gives; those that read one tensor stand together: the q, k and v of an
    attention, its o, then gate and up, then down.
    """
    wanted = set(layers)
    depth: dict[str, int] = {}  # of a call: layers on the longest way to it
    found: dict[str, tuple[int, str]] = {}
    for call in graph:
        before = max((depth.get(key, 0) for key in call.inputs), default=0)
        mine = call.module in wanted and call.function in WEIGHTED
        depth[call.key] = before + mine
        if mine and call.inputs:
            known = found.get(call.module)
            found[call.module] = (before, call.inputs[0]) if known is None else (max(known[0], before), call.module)
    ordered: dict[int, dict[str, list[str]]] = {}
    for layer, (place, source) in found.items():
        ordered.setdefault(place, {}).setdefault(source, []).append(layer)
    return [list(ordered[place].values()) for place in sorted(ordered)]


def last_uses(graph: CallGraph, blocks: Sequence[str]) -> dict[str, int]:
    """For each block the number of the last block that reads its output, directly or through calls between blocks."""
    owner = {call.key: next((b for b in blocks if inside(call.module, b)), None) for call in graph}
    sources: dict[str, set[str]] = {}  # the blocks whose outputs a call's result depends on, through no other block
    last = dict.fromkeys(blocks, -1)
    for call in graph:
        read = set().union(*(_origin(key, owner, sources) for key in call.inputs))
        mine = owner[call.key]
        if mine is None:
            sources[call.key] = read
        else:
            for block in read - {mine}:
                last[block] = max(last[block], blocks.index(mine))
    for key in graph.outputs:
        for block in _origin(key, owner, sources):
            last[block] = len(blocks)
    return last


def _origin(key: str, owner: dict[str, str | None], sources: dict[str, set[str]]) -> set[str]:
    block = owner.get(key)
    return sources.get(key, set()) if block is None else {block}


def positional(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Arguments:
    """The arguments of a call by place, and by name those that have no place."""
    if not keywords:
        return Arguments(arguments, {})
    bound = inspect.signature(module.forward).bind(*arguments, **keywords)
    bound.apply_defaults()
    return Arguments(bound.args, bound.kwargs)


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same nested tuples, lists and dictionaries with `function` of each tensor."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return type(value)((name, mapped(function, item)) for name, item in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple
        return type(value)(*(mapped(function, item) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(function, item) for item in value)
    return value


def _hollow(tensor: Tensor) -> Tensor:
    """A stand-in of the same shape that takes no memory."""
    return tensor.new_zeros(()).expand(tensor.shape)


@torch.no_grad()
def run_block(model: nn.Module, block: str, inputs: Iterable[Arguments]) -> list[Any]:
    """The block's outputs for each of its inputs, with the activation grids that the model uses now.

    The inputs stay as they are, also where the block works in place.  A hook that has what it wants of an input may
    raise Reached: there is no output for that one.
    """
    from compress.models.activations import FakeQuantizing, active_activations

    module = model.get_submodule(block)
    outputs = []
    with FakeQuantizing(model, active_activations(model), module), parametrize.cached():
        for arguments in inputs:
            args, keywords = mapped(torch.clone, arguments)
            with suppress(Reached):
                outputs.append(module(*args, **keywords))
    return outputs
