"""A graph in an older opset than PyTorch writes: what has changed since is written as it was, or refused.

PyTorch writes opset 18, and newer ones from there.  Compilers of neural processors read older ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from compress.errors import ModelError
from compress.exporter.nodes import Writer, attribute, constant, replace, sizes

FIRST = 18  # the oldest opset that PyTorch writes


def lower(model: ir.Model, opset: int) -> None:
    """Write the graph in `opset`.  Raises ModelError for an operator that this opset does not have."""
    before = model.opset_imports[""]
    if opset >= before:
        return
    writer = Writer(model.graph)
    for node in list(model.graph):
        newest = None if node.domain else onnx.defs.get_schema(node.op_type, before)
        if newest is None or newest.since_version <= opset:
            continue
        rule = _RULES.get(node.op_type)
        written = rule(writer, node) if rule is not None else _is_known(node, opset)
        if not written:
            raise ModelError(
                f"{node.op_type}, as the model uses it, came with opset {newest.since_version}, and opset {opset} is "
                f"asked for: write export: {{opset: {newest.since_version}}} if the target reads it, or choose another"
            )
    model.opset_imports[""] = opset


def _is_known(node: ir.Node, opset: int) -> bool:
    """Whether the older form of the operator has all that the node says: inputs, outputs, attributes, types."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return False
    newest = onnx.defs.get_schema(node.op_type, FIRST)
    given = {name for name, value in node.attributes.items() if not _is_default(newest, name, value.value)}
    if not given <= set(schema.attributes) or len(node.inputs) > schema.max_input:
        return False
    for name in set(node.attributes) - set(schema.attributes):
        del node.attributes[name]
    allowed = {each.type_param_str: each.allowed_type_strs for each in schema.type_constraints}
    for place, value in enumerate(node.inputs):
        formal = schema.inputs[min(place, len(schema.inputs) - 1)].type_str
        if value is not None and value.dtype is not None and formal in allowed:
            kind = {"FLOAT": "float", "DOUBLE": "double"}.get(value.dtype.name, value.dtype.name.lower())
            if f"tensor({kind})" not in allowed[formal]:
                return False
    return True


def _is_default(schema: Any, name: str, value: Any) -> bool:
    default = schema.attributes[name].default_value
    if default.type == onnx.AttributeProto.UNDEFINED:
        return False
    known = onnx.helper.get_attribute_value(default)
    return bool(value == (known.decode() if isinstance(known, bytes) else known))


def _reduce(writer: Writer, node: ir.Node) -> bool:
    """Axes are an attribute, not an input."""
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = constant(given)
    if (given is not None and axes is None) or attribute(node, "noop_with_empty_axes", 0):
        return False
    node.attributes.pop("noop_with_empty_axes", None)
    said = {} if axes is None else {"axes": [int(axis) for axis in axes]}
    replace(writer.graph, node, writer.node_like(node, node.op_type, node.inputs[0], **said))
    return True


def _split(writer: Writer, node: ir.Node) -> bool:
    """Into equal parts, as many as there are outputs."""
    if "num_outputs" in node.attributes:
        shape, count = sizes(node.inputs[0]), len(node.outputs)
        axis = attribute(node, "axis", 0)
        if not shape or shape[axis] < 0 or shape[axis] % count:
            return False
        node.attributes.pop("num_outputs")
    return True


def _layer_norm(writer: Writer, node: ir.Node) -> bool:
    """The mean is taken off, the result divided by its root mean square, in float32."""
    shape, last = sizes(node.inputs[0]), attribute(node, "axis", -1)
    if len(node.outputs) > 1 or not shape:
        return False
    kind = node.inputs[0].dtype if node.inputs[0] is not None else None
    half = kind == ir.DataType.FLOAT16
    axes = list(range(last % len(shape), len(shape)))

    def add(op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        return writer.node(node, op_type, *inputs, **attributes)

    def single(value: ir.Value | None) -> ir.Value | None:
        return add("Cast", value, to=ir.DataType.FLOAT) if half and value is not None else value

    x, *scale_and_bias = (single(value) for value in node.inputs)
    centred = add("Sub", x, add("ReduceMean", x, axes=axes))
    variance = add("ReduceMean", add("Mul", centred, centred), axes=axes)
    epsilon = writer.shared_constant(np.array(attribute(node, "epsilon", 1e-5), np.float32))
    result = add("Div", centred, add("Sqrt", add("Add", variance, epsilon)))
    for op_type, value in zip(("Mul", "Add"), scale_and_bias, strict=False):
        result = result if value is None else add(op_type, result, value)
    replace(writer.graph, node, add("Cast", result, to=ir.DataType.FLOAT16) if half else result)
    return True


_RULES: dict[str, Callable[[Writer, ir.Node], bool]] = {
    **dict.fromkeys(
        [f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")],
        _reduce,
    ),
    "Split": _split,
    "LayerNormalization": _layer_norm,
}
