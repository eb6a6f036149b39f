"""Float layers in float16, for targets that compute in it: weights take half the bytes, and no compiler has to guess.

The graph's inputs and outputs stay float32, and so do quantized layers, whose scales are float32 in the opsets that all
compilers read; a Cast stands in between.  What decodes a stored weight stays as it is, too: its result is cast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compress.errors import ModelError
from compress.exporter.nodes import Writer, constant, is_constant, producer, users

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LARGEST, _SMALLEST = float(np.finfo(np.float16).max), float(np.finfo(np.float16).smallest_subnormal)
_KEPT = ("Cast", "QuantizeLinear", "DequantizeLinear")
_BOUNDS = "Clip"  # its bounds may be as large as float32 has them: they mean none
_HALF = "tensor(float16)"


def to_float16(model: ir.Model) -> None:
    """Float operators of computed values, in float16.

    Raises ModelError for a constant that float16 cannot hold, and for branches and loops.
    """
    for node in model.graph:
        if any(each.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for each in node.attributes.values()):
            raise ModelError(
                f"{node.op_type} holds graphs, which are not written in float16: choose a target of float32"
            )
    ShapeInferencePass()(model)
    _Halving(model).run()


class _Halving:
    """halves, singles: of a value in the other type, that in this one.  made: float16, by a node."""

    def __init__(self, model: ir.Model) -> None:
        self.graph, self.opset = model.graph, model.opset_imports[""]
        self.writer = Writer(model.graph)
        self.halves: dict[ir.Value, ir.Value] = {}
        self.singles: dict[ir.Value, ir.Value] = {}
        self.made: set[ir.Value] = set()
        self.quantized: set[ir.Node] = set()

    def run(self) -> None:
        made = self.made
        for node in list(self.graph):
            types = self._convertible(node)
            for place, value in enumerate(node.inputs):
                if value is None:
                    continue
                halved = _type_of(node, place, self.opset) in types
                if halved and value not in made:
                    node.replace_input_with(place, self._half(value, node))
                elif value in made and not halved:
                    node.replace_input_with(place, self._single(value, node))
            for place, value in enumerate(node.outputs):
                if _type_of(node, place, self.opset, of_output=True) in types:
                    value.dtype = ir.DataType.FLOAT16
                    made.add(value)
        self._end_in_float32()
        for before, after in self.halves.items():
            if before.is_initializer() and not before.uses():
                name = str(before.name)
                self.graph.initializers.pop(name)
                after.name = name

    def _convertible(self, node: ir.Node) -> set[str]:
        """The type variables of the operator that become float16; none for a node that stays as it is."""
        if node.domain or node.op_type in _KEPT or all(map(is_constant, node.inputs)) or self._is_quantized(node):
            return set()
        schema = onnx.defs.get_schema(node.op_type, self.opset)
        allowed = {each.type_param_str for each in schema.type_constraints if _HALF in each.allowed_type_strs}
        given = [(place, value) for place, value in enumerate(node.inputs) if value is not None]
        floats = [place for place, value in given if value in self.made or value.dtype == ir.DataType.FLOAT]
        return {_type_of(node, place, self.opset) for place in floats} & allowed

    def _is_quantized(self, node: ir.Node) -> bool:
        """Whether the node reads dequantized activations, or stands between such a one and a QuantizeLinear."""
        found = any(producer(value, "DequantizeLinear") and not is_constant(value) for value in node.inputs)
        above = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if above in self.quantized and {each.op_type for each in users(node.outputs[0])} == {"QuantizeLinear"}:
            found = True
        if found:
            self.quantized.add(node)
        return found

    def _half(self, value: ir.Value, before: ir.Node) -> ir.Value:
        if value not in self.halves:
            if value.is_initializer():
                array = constant(value)
                assert array is not None  # an initializer has its numbers
                name = str(value.name)
                self.halves[value] = self.writer.initializer(_rounded(array, name, before), name)
            else:
                self.halves[value] = self._cast(value, before, ir.DataType.FLOAT16)
        return self.halves[value]

    def _single(self, value: ir.Value, before: ir.Node) -> ir.Value:
        if value not in self.singles:
            self.singles[value] = self._cast(value, before, ir.DataType.FLOAT)
        return self.singles[value]

    def _cast(self, value: ir.Value, before: ir.Node, kind: ir.DataType) -> ir.Value:
        result = self.writer.node(before, "Cast", value, to=kind)
        result.dtype, result.shape = kind, value.shape
        return result

    def _end_in_float32(self) -> None:
        for place, value in enumerate(self.graph.outputs):
            if value in self.made:
                cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT})
                self.graph.append(cast)
                result = cast.outputs[0]
                result.dtype, result.shape = ir.DataType.FLOAT, value.shape
                result.name, value.name = value.name, f"{value.name}_half"
                self.graph.outputs[place] = result


def _type_of(node: ir.Node, place: int, opset: int, *, of_output: bool = False) -> str:
    """The type variable of an input or output, such as 'T'; of a domain that is not ONNX's ''."""
    if node.domain:
        return ""
    schema = onnx.defs.get_schema(node.op_type, opset)
    formal: Sequence[Any] = schema.outputs if of_output else schema.inputs
    return str(formal[min(place, len(formal) - 1)].type_str) if formal else ""


def _rounded(array: NDArray[Any], name: str, reader: ir.Node) -> NDArray[np.float16]:
    """As float16 has it.  Raises ModelError for what it has not: too large a number, or a scalar so small that it would
    be zero (an epsilon)."""
    if reader.op_type == _BOUNDS:
        clipped: NDArray[np.float16] = np.clip(array, -_LARGEST, _LARGEST).astype(np.float16)
        return clipped
    largest = float(np.abs(array).max(initial=0.0))
    told = f"{name}, which {reader.op_type} reads,"
    if np.isfinite(largest) and largest > _LARGEST:
        raise ModelError(f"{told} reaches {largest:.3g}, and float16 ends at {_LARGEST:g}: choose a target of float32")
    if array.size == 1 and 0 < largest < _SMALLEST:
        raise ModelError(f"{told} is {largest:.3g}, which float16 has as 0: choose a target of float32")
    return array.astype(np.float16)
