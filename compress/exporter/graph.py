"""torch model → ONNX graph in memory: activations as QuantizeLinear and DequantizeLinear, stored weights as marks.

A quantized weight reaches the graph as the node `compress::StoredWeight(original)` that names its parameter.  No
optimizer looks into it, so that no weight loses its name by constant folding or by being equal to another one;
`compress.exporter.weights` puts the stored form in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import torch
from onnxscript import opset18 as op
from torch import Tensor, nn

from compress.errors import ModelError
from compress.exporter.nodes import CONSTANT, attribute, constant, replace
from compress.exporter.opsets import FIRST
from compress.models.masks import Mask, settle_masks
from compress.models.quantized import stored

if TYPE_CHECKING:
    from compress.targets import Target

DOMAIN, STORED_WEIGHT = "compress", "StoredWeight"
_ORIGINAL = ".parametrizations.weight.original"  # what torch calls a pruned weight
MODULE = "module"  # the metadata key of the module whose weight a node reads


@dataclass(frozen=True)
class Signature:
    """What a graph calls its inputs, in the order of the model's arguments, and its output.

    max_batch  up to which the model's own code computes as the graph will; None: whatever the batch.
    """

    inputs: tuple[str, ...]
    output: str
    max_batch: int | None = None


CLASSIFIER = Signature(("pixel_values",), "logits")


def to_graph(
    model: nn.Module, example: tuple[Tensor, ...], target: Target, signature: Signature = CLASSIFIER
) -> ir.Model:
    """The graph of `model` in eval mode, on inputs [N, …] like those of `example` [1, …].

    N is free, or 1 where the target wants static shapes.  The opset is the target's, or the oldest that PyTorch writes.
    The model is as before afterwards, also after an error.
    Raises ModelError for a model that ONNX cannot express, or that returns more than one tensor.
    """
    if not target.static_shapes:
        # An exported size of 1 would be taken for a constant.
        example = tuple(torch.cat([each, each]) for each in example)
        # One name is enough: the others are found to be the same size, and a name that is not used is warned of.
        sizes = [torch.export.Dim("batch", max=signature.max_batch), *[torch.export.Dim.AUTO] * (len(example) - 1)]
        dynamic = tuple({0: size} for size in sizes)
    else:
        dynamic = None
    with _exportable(model), torch.no_grad():
        try:
            program = torch.onnx.export(
                model,
                example,
                dynamo=True,
                input_names=list(signature.inputs),
                output_names=[signature.output],
                dynamic_shapes=dynamic,
                custom_translation_table={torch.ops.compress.fake_quantize.default: _quantize_dequantize},
                opset_version=max(target.opset, FIRST),
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ModelError(f"ONNX cannot express the model: {_root_cause(error)}") from error
    assert program is not None
    graph = program.model.graph
    if len(graph.outputs) != 1:
        raise ModelError(
            f"the model returns {len(graph.outputs)} tensors: give it a wrapper that returns the {signature.output}"
        )
    parameters = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    for number, value in enumerate([v for name, v in graph.initializers.items() if name not in parameters]):
        value.name = f"{CONSTANT}{number}"
    for value in [v for name, v in graph.initializers.items() if name.endswith(_ORIGINAL)]:
        if not any(reader.domain == DOMAIN for reader, _ in value.uses()):
            value.name = f"{str(value.name).removesuffix(_ORIGINAL)}.weight"
    drop_idle_squeezes(graph)
    note_modules(graph)
    return program.model


def _root_cause(error: BaseException) -> str:
    """The first line of what began it: the exporter's own message says only in which of its steps."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def drop_idle_squeezes(graph: ir.Graph) -> None:
    """Take out each Squeeze of an axis that is longer than 1: torch leaves such a tensor as it is, ONNX refuses it."""
    for node in [each for each in graph if each.op_type == "Squeeze"]:
        value, axes = node.inputs[0], constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if value is None or value.shape is None or axes is None or axes.size != 1:
            continue
        size = value.shape[int(axes.item())]
        if isinstance(size, int) and size > 1:
            replace(graph, node, value)


def note_modules(graph: ir.Graph) -> None:
    """Write on each node that reads a module's weight, itself or transposed, the module's name."""
    for node in graph:
        for value in node.inputs[1:2]:
            above = None if value is None else value.producer()
            if above is not None and above.op_type == "Transpose":
                value = above.inputs[0]
                above = None if value is None else value.producer()
            parameter = attribute(above, "parameter", "") if above is not None else str(value.name if value else "")
            if parameter.endswith(".weight"):
                node.metadata_props[MODULE] = parameter.removesuffix(".weight")


def _quantize_dequantize(x: Any, scale: float, zero_point: int, limit: int) -> Any:
    """uint8: a signed activation takes a 19× slower convolution in ONNX Runtime on x86.

    Fewer than 8 bits are a Clip of the uint8 tensor, between the two nodes that the runtime fuses with others.
    """
    scale_value = op.Constant(value_float=scale)
    zero = op.Cast(op.Constant(value_int=zero_point), to=ir.DataType.UINT8)
    quantized = op.QuantizeLinear(x, scale_value, zero)
    if limit < 255:
        low = op.Cast(op.Constant(value_int=0), to=ir.DataType.UINT8)
        quantized = op.Clip(quantized, low, op.Cast(op.Constant(value_int=limit), to=ir.DataType.UINT8))
    return op.DequantizeLinear(quantized, scale_value, zero)


@contextmanager
def _exportable(model: nn.Module) -> Iterator[None]:
    """Scope: eval mode; no in-place activations, whose functionalisation doubles the time; stored weights marked,
    pruned ones multiplied out."""
    training = {module: module.training for module in model.modules()}
    in_place = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    marked = [(f"{name}.weight", part) for name, module in model.named_modules() if (part := stored(module))]
    masks = [module for module in model.modules() if isinstance(module, Mask)]
    settle_masks(model)
    model.eval()
    for mask in masks:
        mask.forward = _as_it_is  # type: ignore[method-assign]
    for module in in_place:
        module.inplace = False  # type: ignore[assignment]
    for name, part in marked:
        part.forward = _mark(name)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        for _, part in marked:
            del part.forward
        for mask in masks:
            del mask.forward
        for module in in_place:
            module.inplace = True  # type: ignore[assignment]
        for module, mode in training.items():
            module.training = mode


def _as_it_is(original: Tensor) -> Tensor:
    return original


def _mark(name: str) -> Callable[[Tensor], Tensor]:
    def forward(original: Tensor) -> Tensor:
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{STORED_WEIGHT}",
            (original,),
            {"parameter": name},
            dtype=original.dtype,
            shape=original.shape,
            version=1,
        )

    return forward
