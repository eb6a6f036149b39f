"""What a target says: constraints that the exporter and the passes obey, and figures that a forecast stands on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge

from compress.targets.figures import ByType, Figure

FloatType = Literal["float32", "float16", "bfloat16"]
Granularity = Literal["tensor", "channel", "group"]
Count = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class Target:
    """What a device and its runtime take, and how much of it they do in a second.

    name              of the file, without .yaml.
    description       the device, in a line.
    runtime           what runs the artefact: onnx-cpu is onnxruntime's own kernels.
    opset             what is written unless a recipe says otherwise.
    ir_version        of ONNX, as written.
    weight_bits       numbers of bits in which weights may be stored (any kernel runs them).
    activation_bits   numbers of bits that static activation quantization may take; empty: float activations only.
    granularities     of weight scales: 'tensor', 'channel', 'group'.
    float_types       that floats run in, best first; where that is float16, float layers are written in it.
    integer_form      how integer layers must be written: 'kernels' where onnxruntime's own operators run too, 'qdq'
                      where only QuantizeLinear and DequantizeLinear around float operators do.
    activation_types  of quantized activations: 'uint8' with any zero point, 'int8' with zero point 0, which is written
                      where the other does not run.
    bias_type         of integer layers: 'int32' codes, whose scale is that of the products, or 'float'.
    operators         that are taken, those of other domains as 'com.microsoft.Gelu'; null: all that the runtime has.
    max_size          of an axis of any tensor that is computed; null: any.
    static_shapes     every shape is fixed, batch 1; else the batch axis is free.
    int8_range        largest magnitude of an int8 weight: 127, or 63 where the kernel's sums saturate (AVX2).
    channel_multiple  numbers of channels that kernels are made for: the multiples of this; 1 where nothing is known.
    min_opset         the oldest that the runtime reads.
    max_opset         the newest that the runtime reads.

    memory_bytes             that a model may take.
    bandwidth_bytes_per_s    between that memory and the processor, reading or writing.
    peak_ops_per_s           of matrix products and convolutions; a multiply and an add are two operations.
    depthwise_ops_per_s      of depthwise convolutions, where they reach less than the peak.
    row_ops_per_s            of one row by packed weights (MatMulNBits), each of which is decoded for one product.
    kernel_seconds           that each kernel takes beside its work.
    power_watts              of the whole device at work.
    picojoules_per_byte      moved between memory and processor.
    picojoules_per_op        of arithmetic.
    """

    name: str
    description: str
    runtime: str
    opset: int
    ir_version: int
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    granularities: tuple[Granularity, ...]
    float_types: tuple[FloatType, ...] = ("float32",)
    integer_form: Literal["kernels", "qdq"] = "kernels"
    activation_types: tuple[Literal["uint8", "int8"], ...] = ("uint8", "int8")
    bias_type: Literal["int32", "float"] = "int32"
    operators: tuple[str, ...] | None = None
    max_size: Count | None = None
    static_shapes: bool = False
    int8_range: int = 127
    channel_multiple: Count = 1
    min_opset: int = 13
    max_opset: int = 26
    memory_bytes: Figure | None = None
    bandwidth_bytes_per_s: Figure | None = None
    peak_ops_per_s: ByType = field(default_factory=ByType)
    depthwise_ops_per_s: ByType = field(default_factory=ByType)
    row_ops_per_s: ByType = field(default_factory=ByType)
    kernel_seconds: Figure | None = None
    power_watts: Figure | None = None
    picojoules_per_byte: Figure | None = None
    picojoules_per_op: ByType = field(default_factory=ByType)

    @property
    def is_symmetric(self) -> bool:
        """Whether quantized activations must have zero in the middle of their grid."""
        return "uint8" not in self.activation_types

    @property
    def folds_constants(self) -> bool:
        """Whether onnxruntime reads the graph first: a compiler that reads it itself wants constants as they are."""
        return self.runtime.startswith("onnx-")

    @property
    def is_half(self) -> bool:
        """Whether float layers are written in float16."""
        return self.float_types[:1] == ("float16",)

    def refuses_activations(self, num_bits: int) -> str | None:
        """Why static quantization to so many bits does not run there, or None."""
        if num_bits in self.activation_bits:
            return None
        bits = ", ".join(map(str, self.activation_bits))
        return f"target {self.name} runs {f'activations of {bits} bits' if bits else 'float activations only'}"


# Names of those that are numbers with a source; all others are constraints, and a file says each of them.
FIGURES = (
    "memory_bytes",
    "bandwidth_bytes_per_s",
    "peak_ops_per_s",
    "depthwise_ops_per_s",
    "row_ops_per_s",
    "kernel_seconds",
    "power_watts",
    "picojoules_per_byte",
    "picojoules_per_op",
)
