"""Integer convolutions of images: more channels for ONNX Runtime's kernel, the same numbers.

On x86 QLinearConv has a fast kernel for input channels in fours, whose time goes with the number of kernel positions.
An image has three channels.  In memory with the channels last, four neighbouring pixels of a row are one pixel of
twelve channels, and a convolution with stride 2 of the one is a convolution with stride 1 of the other that makes two
neighbouring outputs at once.  Measured on 224×224 pixels, one thread: 3×3 stride 2 to 32 channels 1.35 ms as it is,
0.80 ms with a fourth channel of zeros, 0.47 ms so; 7×7 to 64 channels 3.0 ms with a fourth channel, 1.9 ms so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compress.exporter.nodes import Writer, attribute, operators, producer, replace, sizes, users

PIXELS = 4  # so many neighbours become one; also the channels that the kernel takes at once


@dataclass(frozen=True)
class Window:
    """A convolution along the rows: size and stride of its kernel, padding in front, sizes of input and output."""

    size: int
    stride: int
    pad: int
    width: int
    out: int

    @property
    def outputs(self) -> int:
        """Neighbouring outputs that the widened convolution makes at once."""
        return max(1, PIXELS // self.stride)

    @property
    def starts(self) -> list[int]:
        """For each of them, where its window begins, in pixels from the first of four."""
        return [output * self.stride - self.pad for output in range(self.outputs)]

    @property
    def pad_behind(self) -> int:
        return (self.out - 1) * self.stride + self.size - self.pad - self.width

    def widened(self) -> Window:
        """The same in pixels of four."""
        first, last = self.starts[0] // PIXELS, (self.starts[-1] + self.size - 1) // PIXELS
        return Window(
            last - first + 1, max(1, self.stride // PIXELS), -first, self.width // PIXELS, self.out // self.outputs
        )

    def fits(self) -> bool:
        """Whether the widened convolution gives the same outputs; stride 1 would cost too many multiplications."""
        strides = self.stride == 2 or self.stride % PIXELS == 0
        whole = self.width > 0 and self.width % PIXELS == 0 and self.out > 0 and self.out % self.outputs == 0
        return strides and whole and self.widened().pad_behind >= 0


def widen_stems(graph: ir.Graph) -> None:
    """Let every integer convolution of fewer than four channels read four pixels as one, or a channel of zeros."""
    writer = Writer(graph)
    for node in operators(graph, "Conv"):
        if not _has_few_channels(node):
            continue
        window = _window(node)
        if window is not None and window.fits() and (window.outputs == 1 or _quantized_output(node) is not None):
            _read_pixels_as_one(writer, node, window)
        else:
            _add_channels(writer, node)


def _has_few_channels(node: ir.Node) -> bool:
    shape = sizes(node.inputs[0])
    integer = all(producer(value, "DequantizeLinear") is not None for value in node.inputs[:2])
    return integer and len(shape) == 4 and 0 < shape[1] < PIXELS and attribute(node, "group", 1) == 1


def _window(node: ir.Node) -> Window | None:
    """The convolution along the rows, or None if a size is not known or the kernel has holes."""
    source, out, kernel = sizes(node.inputs[0]), sizes(node.outputs[0]), attribute(node, "kernel_shape", None)
    holes = any(step != 1 for step in attribute(node, "dilations", [1, 1]))
    if holes or kernel is None or not out or -1 in (*source[1:], *out[1:]):
        return None
    pad, stride = attribute(node, "pads", [0] * 4)[1], attribute(node, "strides", [1, 1])[1]
    return Window(kernel[1], stride, pad, source[3], out[3])


def _quantized_output(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear that alone reads the convolution."""
    readers = users(node.outputs[0])
    return readers[0] if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" else None


def _read_pixels_as_one(writer: Writer, node: ir.Node, window: Window) -> None:
    wide = window.widened()
    _, channels, height, _ = sizes(node.inputs[0])
    _, filters, out_height, _ = sizes(node.outputs[0])
    rows = attribute(node, "kernel_shape", None)[0]

    x = producer(node.inputs[0], "DequantizeLinear")
    assert x is not None
    pixels = _in_rows(writer, node, x.inputs[0], (height, wide.width, PIXELS * channels))
    inputs = [writer.node(node, "DequantizeLinear", pixels, *x.inputs[1:])]

    w = producer(node.inputs[1], "DequantizeLinear")
    assert w is not None
    shifted = []
    for start in window.starts:
        front = start + PIXELS * wide.pad
        behind = PIXELS * wide.size - window.size - front
        shifted.append(writer.node(node, "Pad", w.inputs[0], writer.integers(0, 0, 0, front, 0, 0, 0, behind)))
    weight = _joined(writer, node, shifted)
    weight = writer.node(node, "Reshape", weight, writer.integers(-1, channels, rows, wide.size, PIXELS))
    weight = writer.node(node, "Transpose", weight, perm=[0, 4, 1, 2, 3])
    weight = writer.node(node, "Reshape", weight, writer.integers(-1, PIXELS * channels, rows, wide.size))
    inputs.append(_dequantized(writer, node, weight, w, window.outputs))
    bias = producer(node.inputs[2], "DequantizeLinear") if len(node.inputs) > 2 else None
    if bias is not None:
        codes = _joined(writer, node, [bias.inputs[0]] * window.outputs)
        inputs.append(_dequantized(writer, node, codes, bias, window.outputs))

    top, _, bottom, _ = attribute(node, "pads", [0] * 4)
    convolved = writer.node_like(
        node,
        "Conv",
        *inputs,
        kernel_shape=[rows, wide.size],
        strides=[attribute(node, "strides", [1, 1])[0], wide.stride],
        pads=[top, wide.pad, bottom, wide.pad_behind],
    )
    quantize = _quantized_output(node)
    if quantize is None or window.outputs == 1:
        replace(writer.graph, node, convolved)
        return
    quantized = writer.node(quantize, "QuantizeLinear", convolved, *quantize.inputs[1:])
    replace(writer.graph, quantize, _in_rows(writer, quantize, quantized, (out_height, window.out, filters)))
    writer.graph.remove(node, safe=True)


def _in_rows(writer: Writer, before: ir.Node, value: ir.Value | None, shape: tuple[int, int, int]) -> ir.Value:
    """[N, C, H, W] read in memory order with the channels last as `shape` (H, W, C), and back to [N, C, H, W].

    ONNX Runtime keeps such tensors with their channels last, so that nothing is left of the two transpositions.
    """
    last = writer.node(before, "Transpose", value, perm=[0, 2, 3, 1])
    last = writer.node(before, "Reshape", last, writer.integers(-1, *shape))
    return writer.node(before, "Transpose", last, perm=[0, 3, 1, 2])


def _dequantized(writer: Writer, before: ir.Node, codes: ir.Value | None, like: ir.Node, times: int) -> ir.Value:
    """DequantizeLinear of codes whose channels are those of `like`, so many times over."""
    scales = [like.inputs[1]] * (times if "axis" in like.attributes else 1)
    return writer.node(before, "DequantizeLinear", codes, _joined(writer, before, scales), **like.attributes)


def _joined(writer: Writer, before: ir.Node, values: Sequence[ir.Value | None]) -> ir.Value | None:
    return values[0] if len(values) == 1 else writer.node(before, "Concat", *values, axis=0)


def _add_channels(writer: Writer, node: ir.Node) -> None:
    """A fourth channel of zeros, in the image and in the weight."""
    pads = writer.integers(0, 0, 0, 0, 0, PIXELS - sizes(node.inputs[0])[1], 0, 0)
    for index in (0, 1):
        dequantize = producer(node.inputs[index], "DequantizeLinear")
        assert dequantize is not None
        padded = writer.node(node, "Pad", dequantize.inputs[0], pads)
        wider = writer.node(node, "DequantizeLinear", padded, *dequantize.inputs[1:], **dequantize.attributes)
        node.replace_input_with(index, wider)
