"""Where activations are quantized so that int8 kernels run: which calls' results lie on a grid.

The rule, as a runtime's fused int8 operators want it: a tensor is quantized where a quantized convolution or linear
layer reads it, where a convolution (with the activation that follows it) writes it, and where a sum, a concatenation
or a pooling of quantized tensors writes it, so that int8 operators stand side by side without a float one between.
"""

from __future__ import annotations

from collections.abc import Set

from compress.models.calls import INPUT, Call, CallGraph

CONVOLUTIONS = frozenset({"conv1d", "conv2d"})
WEIGHTED = CONVOLUTIONS | {"linear"}
# Activations that only clip: a grid that begins at zero and ends at the clip does their work.
CLIPPING = frozenset({"relu", "hardtanh", "clamp", "clamp_"})
# int8 kernels exist for these; their results are quantized where all their tensors are.
JOINING = frozenset({"add", "cat", "avg_pool2d", "adaptive_avg_pool2d", "mean"})
# These give the values they got (and zeros, which every grid holds): a grid passes through.
MOVING = frozenset({"flatten", "pad", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze"})
MOVING |= {"contiguous", "dropout", "max_pool2d"}


def quantized_calls(graph: CallGraph, layers: Set[str]) -> list[str]:
    """Keys of the calls (and of the input) to quantize so that `layers`, by module name, run in int8."""
    chosen: dict[str, None] = {}
    for call in graph:
        selected = call.function in WEIGHTED and call.module in layers
        if selected and call.inputs:
            chosen[origin(graph, call.inputs[0])] = None
        if selected and call.function in CONVOLUTIONS:
            chosen[result(graph, call)] = None
        joins = call.function in JOINING and call.inputs and call.shape
        if joins and all(origin(graph, key) in chosen for key in call.inputs):
            chosen[result(graph, call)] = None
    outputs = {origin(graph, key) for key in graph.outputs}
    return [key for key in chosen if key not in outputs]


def origin(graph: CallGraph, key: str) -> str:
    """The call whose values `key` carries on: behind reshapes, transposes and max-poolings."""
    while key != INPUT and graph.calls[key].function in MOVING and graph.calls[key].inputs:
        key = graph.calls[key].inputs[0]
    return key


def result(graph: CallGraph, call: Call) -> str:
    """The call that ends what `call` begins: itself, or the clipping activation that alone reads it."""
    consumers = graph.consumers(call.key)
    if len(consumers) == 1 and consumers[0].function in CLIPPING and call.key not in graph.outputs:
        return consumers[0].key
    return call.key
