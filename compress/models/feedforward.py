"""Feed-forward parts as data: linear layers between which there is only what works number by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from compress.models.blocks import block_owners
from compress.models.calls import INPUT, Call, CallGraph, record
from compress.models.structure import configs_of, set_parameter

# Functions that give each number what only the same numbers of their inputs decide.
ELEMENTWISE = frozenset({"gelu", "silu", "relu", "hardtanh", "hardswish", "mul", "add", "pow", "tanh", "sigmoid"})
ELEMENTWISE |= {"dropout", "leaky_relu", "elu", "clamp", "contiguous"}


@dataclass(frozen=True)
class FeedForward:
    """inputs: the layers that write the hidden width (gate and up, or one); output: the layer that reads it."""

    inputs: tuple[str, ...]
    output: str
    width: int


def feed_forwards(model: nn.Module, example: Sequence[Tensor]) -> list[FeedForward]:
    """Those inside blocks, in the order in which they run."""
    graph = record(model, *example)
    runs = Counter(call.module for call in graph if call.function == "linear")
    owners = block_owners(model)
    found = []
    for call in graph:
        if call.function != "linear" or runs[call.module] != 1:
            continue
        between, sources = _sources(graph, call)
        names = tuple(graph.calls[key].module for key in sources)
        layer, writers = model.get_submodule(call.module), [model.get_submodule(name) for name in names]
        plain = all(isinstance(each, nn.Linear) for each in (layer, *writers))
        if not (names and plain and all(runs[name] == 1 for name in names)):
            continue
        readers = {reader.key for key in (*sources, *between) for reader in graph.consumers(key)}
        block = owners.get(call.module)
        inside_one = block != call.module and all(owners.get(name) == block for name in names)
        widths = {each.out_features for each in writers}
        if inside_one and readers <= {*between, call.key} and widths == {layer.in_features}:
            found.append(FeedForward(names, call.module, int(layer.in_features)))  # type: ignore[arg-type]
    return found


def keep_width(model: nn.Module, part: FeedForward, kept: Tensor) -> None:
    """Keep these numbers of the hidden width, in place."""
    for name in part.inputs:
        layer: Any = model.get_submodule(name)
        set_parameter(layer, "weight", layer.weight[kept])
        if layer.bias is not None:
            set_parameter(layer, "bias", layer.bias[kept])
        layer.out_features = len(kept)
    output: Any = model.get_submodule(part.output)
    set_parameter(output, "weight", output.weight[:, kept])
    output.in_features = len(kept)
    around: Any = model.get_submodule(part.output.rpartition(".")[0])
    if getattr(around, "intermediate_size", None) == part.width:
        around.intermediate_size = len(kept)


def tell_width(model: nn.Module, parts: Sequence[FeedForward], width: int) -> None:
    """What configs of transformers say of the hidden width, all of these parts having the same."""
    fields = {"intermediate_size", "d_ff"}
    for stack in ("encoder", "decoder"):
        if any(f"{stack}." in part.output for part in parts):
            fields.add(f"{stack}_ffn_dim")
    for _, config in configs_of(model):
        for field in sorted(fields):
            if getattr(config, field, None) == parts[0].width:
                setattr(config, field, width)


def _sources(graph: CallGraph, call: Call) -> tuple[set[str], list[str]]:
    """The elementwise calls behind a linear call's input, and the linear calls behind those; none if others are."""
    between: set[str] = set()
    sources: list[str] = []
    waiting = [call.inputs[0]] if call.inputs else []
    while waiting:
        key = waiting.pop()
        if key == INPUT:
            return set(), []
        before = graph.calls[key]
        if before.function == "linear":
            if key not in sources:
                sources.append(key)
        elif before.function in ELEMENTWISE and before.inputs:
            if key not in between:
                between.add(key)
                waiting += before.inputs
        else:
            return set(), []
    order = list(graph.calls)
    return between, sorted(sources, key=order.index) if between else []
