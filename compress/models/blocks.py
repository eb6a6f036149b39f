"""The blocks of a model: the units that reconstruction and block-wise calibration work on, in the order they run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.calls import CallGraph, record
from compress.models.layers import weighted_layers

Batches = Sequence[tuple[Tensor, ...]]


def find_blocks(model: nn.Module, *example: Tensor) -> list[str]:
    """Names of modules that part the weighted layers among them, in the order of their first call.

    A block is an item of a `Sequential` or `ModuleList` that holds at least two weighted layers and no smaller such
    item: a residual block, a transformer layer.  A layer outside of all blocks is a block of its own.
    """
    owners = block_owners(model)
    order = [owners[call.module] for call in record(model, *example) if call.module in owners]
    return list(dict.fromkeys(order))


def block_owners(model: nn.Module) -> dict[str, str]:
    """The block of every weighted layer."""
    layers = weighted_layers(model)
    items = {
        f"{name}.{child}" if name else child
        for name, module in model.named_modules()
        if isinstance(module, nn.Sequential | nn.ModuleList)
        for child, _ in module.named_children()
    }
    large = {item for item in items if sum(inside(layer, item) for layer in layers) >= 2}
    smallest = {item for item in large if not any(other != item and inside(other, item) for other in large)}
    return {layer: next((item for item in smallest if inside(layer, item)), layer) for layer in layers}


def inside(name: str, block: str) -> bool:
    return name == block or name.startswith(block + ".")


class _Reached(Exception):
    """The block's inputs are known: the rest of the forward is not needed."""


class BlockWalk:
    """Inputs and outputs of one block after the other, each block computed once for each batch.

    Blocks that are done answer from a cache, so that reaching the next one costs only what lies between them; an
    output is dropped as soon as no later block reads it, so that memory stays near one block.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[str], batches: Batches) -> None:
        self.model, self.blocks, self.batches = model, list(blocks), batches
        self.last_use = last_uses(record(model, *(tensor[:1] for tensor in batches[0])), self.blocks)
        self.outputs: dict[str, list[Any]] = {}

    @torch.no_grad()
    def inputs(self, block: str) -> list[tuple[Any, ...]]:
        """The positional arguments of `block` for each batch; all blocks before it must be done."""
        found: list[tuple[Any, ...]] = []

        def stop(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            found.append(positional(block, module, arguments, keywords))
            raise _Reached

        handle = self.model.get_submodule(block).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            for number, batch in enumerate(self.batches):
                with self._answering(number):
                    try:
                        self.model(*batch)
                    except _Reached:
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


def positional(block: str, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments of a call, by place.  Raises ModelError for those that can only be given by name."""
    if not keywords:
        return arguments
    bound = inspect.signature(module.forward).bind(*arguments, **keywords)
    bound.apply_defaults()
    if bound.kwargs:
        names = ", ".join(bound.kwargs)
        raise ModelError(
            f"block {block} takes {names} by name alone, and calibration by blocks cannot: round with 'rtn'"
        )
    return bound.args


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
def run_block(model: nn.Module, block: str, inputs: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The block's outputs for each of its inputs, with the activation grids that the model uses now.

    The inputs stay as they are, also where the block works in place.
    """
    from compress.models.quantized import FakeQuantizing, active_activations

    module = model.get_submodule(block)
    outputs = []
    with FakeQuantizing(model, active_activations(model), module):
        for arguments in inputs:
            outputs.append(module(*mapped(torch.clone, arguments)))
    return outputs
