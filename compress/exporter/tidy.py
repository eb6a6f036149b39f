"""What a finished graph does not need on disk goes: unused and equal parts, metadata, default attributes, names.

The exporter's own metadata would be as large as a small model.  Parameters keep their names, and the operators that
take them are named after their modules; every other name is short.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    CommonSubexpressionEliminationPass,
    DeduplicateInitializersPass,
    IdentityEliminationPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
    TopologicalSortPass,
)

from compress.exporter.graph import CLASSIFIER, MODULE, Signature
from compress.exporter.nodes import CONSTANT

if TYPE_CHECKING:
    from pathlib import Path

    from compress.targets import Target

# A protobuf message, and so an ONNX file that holds its weights, is smaller than 2 GiB.
LARGEST_FILE_BYTES = 1_900_000_000
SMALLEST_EXTERNAL = 1024  # bytes of a tensor that goes into a file beside the graph


def write(
    model: ir.Model,
    path: Path,
    target: Target,
    version: str,
    signature: Signature = CLASSIFIER,
    *,
    data: str | None = None,
) -> None:
    """Tidy the model and write it to `path`: the same bytes for the same graph and `version` of this program.

    data  the file beside it that takes the weights; None: `path` + '.data', only if one file cannot hold them.
    """
    proto = finished(model, target, version, path, signature, data=data)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def finished(
    model: ir.Model,
    target: Target,
    version: str,
    path: Path | None = None,
    signature: Signature = CLASSIFIER,
    *,
    data: str | None = None,
) -> onnx.ModelProto:
    """The tidy model as the file holds it; where its weights are too large or go into `data`, and a path is given, they
    are written."""
    tidy(model, signature)
    model.ir_version, model.producer_name, model.producer_version = target.ir_version, "compress", version
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if path is not None and (data is not None or size > LARGEST_FILE_BYTES):
        ir.external_data.unload_from_model(
            model, path.parent, data or f"{path.name}.data", size_threshold_bytes=SMALLEST_EXTERNAL
        )
    proto: onnx.ModelProto = ir.to_proto(model)
    del proto.graph.value_info[:]  # it would repeat the initializers' types
    return proto


def tidy(model: ir.Model, signature: Signature = CLASSIFIER) -> None:
    """Take out, in place, all that the graph does not need."""
    modules = {node: node.metadata_props[MODULE] for node in model.graph if MODULE in node.metadata_props}
    ir.passes.Sequential(
        IdentityEliminationPass(),
        RemoveUnusedNodesPass(),
        DeduplicateInitializersPass(),
        CommonSubexpressionEliminationPass(),
        RemoveUnusedNodesPass(),
        RemoveUnusedOpsetsPass(),
        TopologicalSortPass(),
        ClearMetadataAndDocStringPass(),
    )(model)
    separate_zero_points(model.graph)
    drop_default_attributes(model)
    shorten_names(model.graph, modules)
    model.graph.outputs[0].name = signature.output


def separate_zero_points(graph: ir.Graph) -> None:
    """Each weight its own constant zero points: on x86 without VNNI ONNX Runtime rewrites them, and no name twice."""
    for node in graph:
        if node.op_type != "DequantizeLinear" or len(node.inputs) < 3:
            continue
        weight, _, zeros = node.inputs
        if weight is None or zeros is None or not (weight.is_initializer() and zeros.is_initializer()):
            continue
        name = f"{weight.name}_zero_point"
        if zeros.const_value is not None and len(zeros.uses()) > 1 and zeros.name != name:
            own = ir.Value(name=name, const_value=ir.tensor(zeros.const_value.numpy().copy(), name=name))
            graph.register_initializer(own)
            node.replace_input_with(2, own)


def drop_default_attributes(model: ir.Model) -> None:
    """Attributes that say what the operator's schema says anyway."""
    for node in model.graph:
        if node.domain:
            continue
        schema = onnx.defs.get_schema(node.op_type, model.opset_imports[node.domain], node.domain)
        for name, attribute in list(node.attributes.items()):
            known = schema.attributes.get(name)
            if known is None or known.required or known.default_value.type == onnx.AttributeProto.UNDEFINED:
                continue
            default = onnx.helper.get_attribute_value(known.default_value)
            if attribute.value == (default.decode() if isinstance(default, bytes) else default):
                del node.attributes[name]


def shorten_names(graph: ir.Graph, modules: dict[ir.Node, str]) -> None:
    """Constants that are no parameters become c0, c1, …, computed values v0, v1, …; intermediate types go."""
    parameters = {name for name in graph.initializers if not name.startswith(CONSTANT)}
    constants = [value for name, value in graph.initializers.items() if name not in parameters]
    for value, name in zip(constants, _unused("c", parameters), strict=False):
        value.name = name
    computed = [value for node in graph for value in node.outputs]
    for value, name in zip(computed, _unused("v", parameters), strict=False):
        value.name = name
        if not value.is_graph_output():
            value.type = value.shape = None
    taken: Counter[str] = Counter()
    for node in graph:
        module = modules.get(node, "")
        node.name = f"{module}_{taken[module]}" if module and taken[module] else module
        taken[module] += 1
    graph.name = "compress"


def _unused(letter: str, names: set[str]) -> Iterator[str]:
    return (name for number in itertools.count() if (name := f"{letter}{number}") not in names)
