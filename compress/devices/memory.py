"""What a run holds at once: weights, activations from their making to their last reading, and the cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compress.devices.costs import tensor_bytes
from compress.devices.kernels import VIEWS, Kernel
from compress.devices.trace import Tensor, Trace
from compress.targets import Target


@dataclass(frozen=True)
class Memory:
    """Bytes at once; the runtime itself and its packed copies come on top.

    weights      constants, as they are after decoding.
    activations  the most that is alive at once beside weights and cache, inputs and outputs among it.
    cache        keys and values: those that are read and those that are written.
    """

    weights: int
    activations: int
    cache: int

    @property
    def peak(self) -> int:
        return self.weights + self.activations + self.cache


def memory(trace: Trace, kernels: Sequence[Kernel], target: Target) -> Memory:
    """The memory of one run of the kernels."""
    owners = _owners(kernels)
    cached = {owners.get(tensor, tensor) for tensor in (*trace.inputs, *trace.outputs) if is_cache(tensor.name)}
    constants = {tensor for kernel in kernels for tensor in kernel.step.given if tensor.constant}
    constants -= {tensor for kernel in kernels for tensor in kernel.step.outputs}

    def total(tensors: Iterable[Tensor]) -> int:
        return sum(tensor_bytes(tensor, target) for tensor in tensors)

    return Memory(total(constants), _most_alive(trace, kernels, owners, cached, target), total(cached))


def is_cache(name: str) -> bool:
    """Whether an input or output holds keys or values: past_key_values.0.key, present.0.value."""
    return name.startswith(("past", "present"))


def _owners(kernels: Sequence[Kernel]) -> dict[Tensor, Tensor]:
    """Of a tensor that is another one in a different shape, the one whose bytes it has."""
    owners: dict[Tensor, Tensor] = {}
    for kernel in kernels:
        if kernel.step.op in VIEWS and kernel.step.op not in ("Shape", "Size"):
            source = kernel.step.given[0]
            owners[kernel.step.outputs[0]] = owners.get(source, source)
    return owners


def _most_alive(
    trace: Trace, kernels: Sequence[Kernel], owners: dict[Tensor, Tensor], cached: set[Tensor], target: Target
) -> int:
    def own(tensor: Tensor) -> Tensor:
        return owners.get(tensor, tensor)

    last: dict[Tensor, int] = {}
    for number, kernel in enumerate(kernels):
        for tensor in (*kernel.step.given, *kernel.step.outputs):
            last[own(tensor)] = number
    for tensor in (*trace.inputs, *trace.outputs):  # the caller's: alive to the end
        last[own(tensor)] = len(kernels)
    alive = {own(tensor) for tensor in trace.inputs}
    most = 0
    for number, kernel in enumerate(kernels):
        alive |= {own(tensor) for tensor in kernel.step.outputs}
        counted = alive - cached
        most = max(most, sum(tensor_bytes(tensor, target) for tensor in counted))
        alive = {tensor for tensor in alive if last[tensor] > number}
    return most
