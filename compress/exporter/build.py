"""From a torch model to the finished graph in memory: the order of the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from compress.exporter.graph import to_graph
from compress.exporter.keep_float import keep_weights_float
from compress.exporter.simplify import simplify
from compress.exporter.stem import widen_stems
from compress.exporter.weights import store_weights
from compress.models.quantized import quantized_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.targets import Target


def build(model: nn.Module, example: Tensor, target: Target) -> ir.Model:
    """The graph of `model` with its stored weights and quantized activations; `example` is float32 [1, 3, H, W]."""
    built = to_graph(model, example, target)
    simplify(built.graph)
    store_weights(built, quantized_weights(model))
    if target.runtime == "onnx-cpu":
        widen_stems(built.graph)
        keep_weights_float(built.graph)
    return built
