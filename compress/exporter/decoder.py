"""A stored weight in a graph: its constants, and the standard operators that decode them when a session loads.

ONNX Runtime folds them, and frees no intermediate before it has folded all: hence few operators, and int8 as long as
the integers fit.  Low-bit codes are looked up a byte at a time (`plane_tables`), which also centres them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from compress.exporter.codecs import MULTIPLIER_BITS, Coding, coding_of, disk_scales, pack, plane_tables
from compress.exporter.nodes import Writer
from compress.exporter.ternary import ternary_codes
from compress.numerics.weight import odd

if TYPE_CHECKING:
    from torch import Tensor

    from compress.numerics.weight import QuantizedWeight

MULTIPLIERS = Coding(MULTIPLIER_BITS, 1, 1)


def fits_int8(quantized: QuantizedWeight) -> bool:
    """Whether (codes − zero points) · multipliers lies in int8 everywhere."""
    integers = replace(quantized, scales=torch.ones_like(quantized.scales)).dequantize()
    return bool(integers.min() >= -128 and integers.max() <= 127)


def has_int8_form(quantized: QuantizedWeight) -> bool:
    """Whether the weight is int8 integers, zero at zero, times one scale a row: what integer kernels take."""
    quantized = odd(quantized)
    return quantized.zero_points is None and quantized.scales.shape[1] == 1 and fits_int8(quantized)


class Decoder:
    """One weight's constants and decoding nodes, each written once, in front of the node `before`.

    folded  the reader folds constants; else the scales of integers are written as DequantizeLinear reads them.
    """

    def __init__(
        self, writer: Writer, before: ir.Node, name: str, quantized: QuantizedWeight, folded: bool = True
    ) -> None:
        self.folded = folded
        quantized = odd(quantized)
        self.writer, self.before, self.name, self.quantized = writer, before, name, quantized
        rows, per_group = quantized.codes.shape[0], (quantized.scales, quantized.zero_points, quantized.multipliers)
        self.columns = quantized.codes.numel() // rows
        self.groups = max(part.shape[1] for part in per_group if part is not None)
        self.even = self.groups == 1 or self.groups * (quantized.group_size or self.columns) == self.columns
        # The shape in which what belongs to a group is broadcast over it.
        self.layout = quantized.shape if self.groups == 1 else (rows, self.groups, -1) if self.even else (rows, -1)
        self.made: dict[str, ir.Value] = {}
        self.int8_copies = 0

    def int8(self, transposed: bool = False, zero_point: bool = False) -> ir.Value:
        """DequantizeLinear of the int8 form, [out, in, …] or transposed [in, out], with a scale an output channel.

        Its zero point, which is zero, is written down on demand.  Where the reader folds, each product gets constants
        of its own: on x86 without VNNI ONNX Runtime makes them unsigned, and fails where another product did so before.
        """
        if self.folded:
            self.int8_copies += 1
            return self._int8(transposed, zero_point, self.int8_copies - 1)
        key = f"int8 {transposed} {zero_point}"
        if key not in self.made:
            self.made[key] = self._int8(transposed, zero_point, 0)
        return self.made[key]

    def _int8(self, transposed: bool, zero_point: bool, again: int) -> ir.Value:
        """again: how many copies there are of the weight already."""
        inputs, scales = [self._integers(), self.scale()], self.quantized.scales.numel()
        if again:  # an end behind the last row tells this copy from the others
            first, end = self.writer.integers(0), self.writer.integers(self.quantized.codes.shape[0] + again)
            inputs[0] = self._node("Slice", inputs[0], first, end)
        if transposed:
            inputs[0] = self._node("Transpose", inputs[0], perm=[1, 0])
        if zero_point and not self.folded:  # a constant, as onnxruntime's own quantizer writes it
            zero_points = np.zeros(scales if scales > 1 else (), np.int8)
            inputs.append(self.writer.initializer(zero_points, f"{self.name}_zero_point"))
        elif zero_point:
            zeros = inputs[1]
            for _ in range(1 + again):
                zeros = self._node("Sub", zeros, zeros)
            inputs.append(self._node("Cast", zeros, to=ir.DataType.INT8))
        axis = {"axis": 1 if transposed else 0} if scales > 1 else {}
        return self._node("DequantizeLinear", *inputs, **axis)

    def float32(self, transposed: bool = False) -> ir.Value:
        """The float weight, of the codes' shape or transposed: the same bits as `quantized.dequantize()`."""
        key = f"float32 {transposed}"
        if key not in self.made:
            of_rows = self.quantized.scales.shape[1] == 1
            self.made[key] = self._float32_rows(transposed) if of_rows else self._float32_groups(transposed)
        return self.made[key]

    def _float32_rows(self, transposed: bool) -> ir.Value:
        scales, ones = self.quantized.scales, [1] * (len(self.quantized.shape) - 1)
        integers = self._integers()
        if transposed:  # while they are int8
            integers, column = self._node("Transpose", integers, perm=[1, 0]), scales.reshape(*ones, -1)
        else:
            column = scales.reshape(-1, *ones)
        return self._node("Mul", self._float(integers), self._scales(column))

    def _float32_groups(self, transposed: bool) -> ir.Value:
        scales = self._spread(self.quantized.scales, self._scales)
        value = self._reshaped(self._node("Mul", self._float(self._grouped_integers()), scales))
        return self._node("Transpose", value, perm=[1, 0]) if transposed else value

    def scale(self) -> ir.Value:
        """float32 [out], or a scalar where one scale serves the whole weight.  Only for one scale a row."""
        if "scale" not in self.made:
            scales = self.quantized.scales
            scales = scales.reshape(() if scales.numel() == 1 else -1)
            if self.folded:
                self.made["scale"] = self._scales(scales)
            else:
                self.made["scale"] = self.writer.initializer(scales.float().numpy(), f"{self.name}_scale")
        return self.made["scale"]

    def _integers(self) -> ir.Value:
        """(codes − zero points) · multipliers in the weight's shape: int8 if they fit, else float32."""
        if "integers" not in self.made:
            self.made["integers"] = self._reshaped(self._grouped_integers())
        return self.made["integers"]

    def _grouped_integers(self) -> ir.Value:
        if "grouped" in self.made:
            return self.made["grouped"]
        q = self.quantized
        in_type = _same if fits_int8(q) else self._float
        if q.is_ternary:
            value = in_type(self._shaped(ternary_codes(self._node, self.writer, q, self.name), self.layout))
        else:
            value = in_type(self._unpacked(q.codes.reshape(self.layout), coding_of(q), self.name))
        if q.zero_points is not None:
            zeros = self._spread(
                q.zero_points, lambda part: self._unpacked(part, coding_of(q), f"{self.name}_zero_point")
            )
            value = self._node("Sub", value, in_type(zeros))
        if q.multipliers is not None:
            factors = self._spread(
                q.multipliers, lambda part: self._unpacked(part, MULTIPLIERS, f"{self.name}_multiplier")
            )
            value = self._node("Mul", value, in_type(factors))
        self.made["grouped"] = value
        return value

    def _spread(self, per_group: Tensor, write: Callable[[Tensor], ir.Value]) -> ir.Value:
        """[out, groups], as `write` writes it, in a shape that broadcasts over the layout."""
        if per_group.shape[1] == 1:
            return write(per_group.reshape(-1, *[1] * (len(self.layout) - 1)))
        if self.even:
            return write(per_group[:, :, None])
        scalars = [np.array(n, np.int64) for n in (0, self.columns, 1, self.quantized.group_size)]
        *bounds, size = map(self.writer.shared_constant, scalars)
        group_of_column = self._node("Div", self._node("Range", *bounds), size)
        return self._node("Gather", write(per_group), group_of_column, axis=1)

    # --- pieces

    def _unpacked(self, codes: Tensor, coding: Coding, name: str) -> ir.Value:
        """int8 codes of their own shape; stored are their numbers."""
        array = codes.numpy()
        if coding.num_bits == 8:
            return self.writer.initializer(array, name)
        parts = [
            self._looked_up(plane, table, array.shape, name)
            for plane, table in zip(pack(coding.numbers(array), coding.num_bits), plane_tables(coding), strict=True)
        ]
        total = parts[0]
        for part in parts[1:]:
            total = self._node("Add", total, part)
        return total

    def _looked_up(self, plane: NDArray[Any], table: NDArray[np.int8], shape: Sequence[int], name: str) -> ir.Value:
        index = self._node("Cast", self.writer.initializer(plane, name), to=ir.DataType.INT32)
        value = self._node("Gather", self.writer.shared_constant(table), index, axis=0)
        count = int(np.prod(shape))
        if plane.size * table.shape[1] != count:  # the last byte is not full
            value = self._node(
                "Slice", self._shaped(value, (-1,)), self.writer.integers(0), self.writer.integers(count)
            )
        return self._shaped(value, shape)

    def _scales(self, scales: Tensor) -> ir.Value:
        array = disk_scales(scales.numpy())
        value = self.writer.initializer(array, f"{self.name}_scale")
        return value if array.dtype == np.float32 else self._float(value)

    def _float(self, value: ir.Value) -> ir.Value:
        return self._node("Cast", value, to=ir.DataType.FLOAT)

    def _reshaped(self, value: ir.Value) -> ir.Value:
        """From the layout to the weight's shape."""
        return value if self.layout == self.quantized.shape else self._shaped(value, self.quantized.shape)

    def _shaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        return self._node("Reshape", value, self.writer.integers(*shape))

    def _node(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        return self.writer.node(self.before, op_type, *inputs, **attributes)


def _same(value: ir.Value) -> ir.Value:
    return value
