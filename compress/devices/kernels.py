"""Nodes as a runtime fuses them: constants folded, integer layers whole, activations inside the layer before them.

A float operator between DequantizeLinear and QuantizeLinear is one integer kernel that reads and writes codes.  What
reads constants alone is computed once, when the model loads; a DequantizeLinear of constants that is not fused is
done in each run by onnxruntime, and once by a compiler (`folds_scales`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from compress.devices.trace import Step, Tensor, Trace

# That onnxruntime runs whole on codes; a product may also have a float output.
_FUSED_WHOLE = {"Add", "Mul", "Concat", "Where", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu", "Softmax"}
_PRODUCTS = {"Conv", "MatMul", "Gemm"}
_MOVING = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "MaxPool", "Identity"}
# That are done while the layer before them writes its output.
_ACTIVATIONS = {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"}
_HOSTS = {"Conv", "ConvTranspose", "Gemm"}
# That give a tensor another shape, and move nothing.
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Shape", "Size"}


@dataclass(frozen=True, eq=False)
class Kernel:
    """What is done at once.

    step     the node that names it, with what is read and written once it is fused.
    nodes    names of all nodes in it.
    integer  whether it multiplies 8-bit codes.
    """

    step: Step
    nodes: tuple[str, ...]
    integer: bool

    @property
    def name(self) -> str:
        return self.step.name


def kernels(trace: Trace, folds_scales: bool) -> list[Kernel]:
    """The kernels of one run, in order."""
    # The weights' own DequantizeLinear tells that a layer is an integer one, also where it is folded.
    steps = [step for step in trace.steps if not step.constant or step.op == "DequantizeLinear"]
    fused = _with_activations(_integer_kernels(steps, trace.outputs), trace.outputs)
    return [kernel for kernel in fused if not (folds_scales and kernel.step.constant)]


def _readers(kernels: Iterable[Kernel]) -> dict[Tensor, list[Kernel]]:
    found: dict[Tensor, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        for tensor in kernel.step.given:
            found[tensor].append(kernel)
    return found


def _integer_kernels(steps: Sequence[Step], outputs: Sequence[Tensor]) -> list[Kernel]:
    """Put the DequantizeLinear before an operator and the QuantizeLinear after it into its kernel."""
    plain = [Kernel(step, (step.name,), step.op in _INTEGER) for step in steps]
    readers = _readers(plain)
    dequantized = {step.outputs[0]: step for step in steps if step.op == "DequantizeLinear"}
    kept: dict[Step, Kernel] = {kernel.step: kernel for kernel in plain}
    absorbed: set[Step] = set()
    for step in steps:
        made = _quantized(step, dequantized, readers, set(outputs))
        if made is not None:
            kept[step], inside = made
            absorbed |= inside
    still_read = _readers(kernel for step, kernel in kept.items() if step not in absorbed)
    return [
        kernel
        for step, kernel in kept.items()
        if step not in absorbed
        and not (step.op == "DequantizeLinear" and step.outputs[0] not in still_read and step.outputs[0] not in outputs)
    ]


def _quantized(
    step: Step, dequantized: dict[Tensor, Step], readers: dict[Tensor, list[Kernel]], outputs: set[Tensor]
) -> tuple[Kernel, set[Step]] | None:
    """The integer kernel of a float operator and the steps that are in it; None if it runs in float."""
    if step.op not in _PRODUCTS | _FUSED_WHOLE | _MOVING or step.domain:
        return None
    floats = [tensor for tensor in step.given if tensor.kind in ("FLOAT", "FLOAT16")]
    needed = floats[:2] if step.op in _PRODUCTS else [tensor for tensor in floats if tensor.elements > 1]
    if not needed or not all(tensor in dequantized for tensor in needed):
        return None
    inside: set[Step] = set()
    last = step
    while len(readers[last.outputs[0]]) == 1 and readers[last.outputs[0]][0].step.op in ("Relu", "Clip"):
        last = readers[last.outputs[0]][0].step
        inside.add(last)
    after = [kernel.step for kernel in readers[last.outputs[0]]]
    if last.outputs[0] not in outputs and after and all(reader.op == "QuantizeLinear" for reader in after):
        inside |= set(after)
        written = tuple(reader.outputs[0] for reader in after[:1])
    elif step.op in ("MatMul", "Gemm"):
        inside, written = set(), step.outputs
    else:
        return None
    if len(after) > 1 and inside:  # each its own grid: the first is written by the kernel, the others by themselves
        inside -= set(after[1:])
    codes = tuple(
        dequantized[tensor].inputs[0] if tensor is not None and tensor in dequantized else tensor
        for tensor in step.inputs
    )
    nodes = (step.name, *(each.name for each in inside))
    return Kernel(replace(step, inputs=codes, outputs=written), nodes, step.op in _PRODUCTS), inside


def _with_activations(kernels: Sequence[Kernel], outputs: Sequence[Tensor]) -> list[Kernel]:
    """Put an activation that alone reads a layer's output into the layer's kernel."""
    readers = _readers(kernels)
    taken: set[Kernel] = set()
    found = []
    for kernel in kernels:
        if kernel in taken:
            continue
        after = readers[kernel.step.outputs[0]] if kernel.step.op in _HOSTS else []
        alone = len(after) == 1 and kernel.step.outputs[0] not in outputs
        if alone and after[0].step.op in _ACTIVATIONS and after[0].step.inputs[0] is kernel.step.outputs[0]:
            taken.add(after[0])
            step = replace(kernel.step, outputs=after[0].step.outputs)
            kernel = replace(kernel, step=step, nodes=(*kernel.nodes, *after[0].nodes))
        found.append(kernel)
    return found


_INTEGER = {
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
}
