"""A forecast, not a measurement: a roofline of each kernel, the memory at once, and the energy, by a target's figures.

A kernel takes as long as its bytes take over the bandwidth, or its operations at the peak, whichever is longer.  No
cache, no overlap of kernels, no start-up: what a device reaches at best, unless its figures were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.devices.costs import Arithmetic, Cost, Form, cost
from compress.devices.kernels import kernels
from compress.devices.memory import Memory, memory
from compress.devices.phases import Phase, phases
from compress.devices.trace import trace
from compress.errors import ArtefactError
from compress.targets import ByType, Figure, Target


@dataclass(frozen=True)
class KernelForecast:
    """node: its name.  binds: what takes the time, 'memory', 'compute' or 'overhead'."""

    node: str
    operator: str
    cost: Cost
    seconds: float
    binds: str


@dataclass(frozen=True)
class Forecast:
    """Of one run.

    joules   of the bytes and operations; None where the target states no picojoules.
    figures  that it stands on, by their names in the target's file.
    missing  what it would take to say more.
    """

    path: str
    phase: str
    target: str
    kernels: tuple[KernelForecast, ...]
    memory: Memory
    joules: float | None
    figures: Mapping[str, Figure]
    missing: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return sum(kernel.seconds for kernel in self.kernels)

    @property
    def operations(self) -> int:
        return sum(kernel.cost.products for kernel in self.kernels)

    @property
    def bytes_moved(self) -> int:
        return sum(kernel.cost.bytes_moved for kernel in self.kernels)


def forecast(path: Path, target: Target, tokens: int = 128, sizes: Mapping[str, int] | None = None) -> list[Forecast]:
    """The forecast of every run of an artefact (`phases`).

    Raises ArtefactError for a target without the figures that it takes, all of them named, and for a graph whose
    shapes stay open.
    """
    return [_of_phase(path, phase, target) for phase in phases(path, tokens, sizes or {})]


def _of_phase(path: Path, phase: Phase, target: Target) -> Forecast:
    traced = trace(phase.path, phase.sizes, phase.values)
    fused = kernels(traced, folds_scales=target.runtime != "onnx-cpu")
    costs = [cost(kernel, target) for kernel in fused]
    used = _Figures(target)
    used.check(costs)
    timed = tuple(
        KernelForecast(kernel.name, kernel.step.op, each, *used.roofline(each))
        for kernel, each in zip(fused, costs, strict=True)
    )
    joules, missing = used.energy(costs)
    return Forecast(
        str(path), phase.name, target.name, timed, memory(traced, fused, target), joules, used.taken, missing
    )


class _Figures:
    """The target's figures, and which of them were used."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.taken: dict[str, Figure] = {}

    def number(self, arithmetic: Arithmetic) -> str:
        """The type that products are computed in."""
        return self.target.float_types[0] if arithmetic == "float" else arithmetic

    def check(self, costs: Sequence[Cost]) -> None:
        """Raise ArtefactError that names each figure that is missing."""
        missing = [] if self.target.bandwidth_bytes_per_s else ["bandwidth_bytes_per_s"]
        needed = {self.number(each.arithmetic) for each in costs if each.products}
        missing += [f"peak_ops_per_s.{number}" for number in sorted(needed) if not self._peak(number, "dense")]
        if missing:
            raise ArtefactError(
                f"target {self.target.name} states no {', no '.join(missing)}: write a file with 'extends: "
                f"{self.target.name}' and the figures, and name it by its path; or measure: compress calibrate-target"
            )

    def _peak(self, number: str, form: Form) -> tuple[str, Figure] | None:
        """The figure of that form of products, or the peak in its place, with its name."""
        names = {"dense": [], "depthwise": ["depthwise_ops_per_s"], "row": ["row_ops_per_s"]}[form]
        for name in (*names, "peak_ops_per_s"):
            figures: ByType = getattr(self.target, name)
            figure = figures.get(number)
            if figure is not None:
                return f"{name}.{number}", figure
        return None

    def roofline(self, each: Cost) -> tuple[float, str]:
        """Seconds, and what binds."""
        bandwidth = self.target.bandwidth_bytes_per_s
        assert bandwidth is not None
        self.taken["bandwidth_bytes_per_s"] = bandwidth
        by_memory, by_compute, start = each.bytes_moved / bandwidth.value, 0.0, 0.0
        if each.products:
            found = self._peak(self.number(each.arithmetic), each.form)
            assert found is not None
            self.taken[found[0]] = found[1]
            by_compute = each.products / found[1].value
        if self.target.kernel_seconds is not None:
            self.taken["kernel_seconds"] = self.target.kernel_seconds
            start = self.target.kernel_seconds.value
        longest = max(by_memory, by_compute)
        binds = "overhead" if start > longest else "compute" if by_compute > by_memory else "memory"
        return longest + start, binds

    def energy(self, costs: Sequence[Cost]) -> tuple[float | None, tuple[str, ...]]:
        """Joules, or None with the figures that are missing."""
        a_byte, an_op = self.target.picojoules_per_byte, self.target.picojoules_per_op
        best = self.target.float_types[0]
        work = dict.fromkeys({best, *(self.number(each.arithmetic) for each in costs)}, 0)
        for each in costs:
            work[self.number(each.arithmetic)] += each.products
            work[best] += each.others
        needed = sorted(number for number, operations in work.items() if operations)
        missing = [] if a_byte else ["picojoules_per_byte"]
        missing += [f"picojoules_per_op.{number}" for number in needed if an_op.get(number) is None]
        if missing or a_byte is None:
            return None, tuple(missing)
        self.taken["picojoules_per_byte"] = a_byte
        total = sum(each.bytes_moved for each in costs) * a_byte.value
        for number in needed:
            figure = an_op.get(number)
            assert figure is not None
            self.taken[f"picojoules_per_op.{number}"] = figure
            total += work[number] * figure.value
        return total * 1e-12, ()
