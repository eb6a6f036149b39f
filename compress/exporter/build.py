"""From a torch model to the finished graph in memory: the order of the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from compress.exporter.graph import CLASSIFIER, Signature, to_graph
from compress.exporter.half import to_float16
from compress.exporter.halves import store_halves
from compress.exporter.keep_float import keep_weights_float
from compress.exporter.kept import can_keep_codes
from compress.exporter.opsets import lower
from compress.exporter.qdq import clip_floats, make_symmetric, move_floats
from compress.exporter.simplify import simplify
from compress.exporter.stem import widen_stems
from compress.exporter.weights import store_weights
from compress.models.activations import quantized_activations
from compress.models.low_rank import halves
from compress.models.quantized import quantized_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.targets import Target


def build(
    model: nn.Module,
    example: tuple[Tensor, ...],
    target: Target,
    signature: Signature = CLASSIFIER,
    *,
    keep_codes: bool = False,
) -> ir.Model:
    """The graph of `model` with its stored weights and quantized activations; `example` is one input, [1, …] each.

    keep_codes  weights stay codes in memory too, where the target's runtime has operators that read them (see
                `compress.exporter.kept`); else they are decoded when the model loads.

    Raises ModelError for a model that ONNX, or the target's opset or types, cannot express.
    """
    built = to_graph(model, example, target, signature)
    simplify(built.graph)
    store_weights(
        built,
        quantized_weights(model),
        folded=target.folds_constants,
        integer_bias=target.bias_type == "int32",
        keep_codes=keep_codes and can_keep_codes(target),
    )
    if target.folds_constants and not target.is_half:
        store_halves(built.graph, [model.get_parameter(name) for name in halves(model)])
    if target.runtime == "onnx-cpu":
        widen_stems(built.graph)
        keep_weights_float(built.graph)
    if target.integer_form == "qdq":
        move_floats(built.graph)
        clip_floats(built.graph)
    if target.is_half:
        to_float16(built)
    if target.is_symmetric:
        make_symmetric(built.graph, quantized_activations(model), target.name)
    lower(built, target.opset)
    return built
