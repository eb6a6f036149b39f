"""This machine's figures, measured by onnxruntime, and what artefacts take beside what is forecast from them.

Everything runs in turn, A B C A B C …, so that whatever else the machine does falls on all of it alike.  A figure is of
the fastest tenth of its runs, what the machine reaches undisturbed; artefacts are told by their median and by that.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.devices.benches import Bench, benches
from compress.devices.forecast import forecast
from compress.devices.phases import Phase, phases
from compress.devices.trace import Tensor, trace
from compress.passes.base import Progress
from compress.runtime.machine import this_machine
from compress.runtime.session import inference_session, running, session_options
from compress.runtime.statistics import percentile
from compress.targets import Figure, Target

_ROUNDS, _SECONDS, _WARMUPS = 40, 25.0, 2
_TYPES = {"FLOAT": np.float32, "FLOAT16": np.float16, "INT64": np.int64, "INT32": np.int32, "BOOL": np.bool_}


@dataclass(frozen=True)
class Comparison:
    """One run of an artefact: its median, and its fastest tenth, which is far below where other programs run."""

    path: str
    phase: str
    forecast_ms: float
    p50_ms: float
    p10_ms: float

    @property
    def error(self) -> float:
        """The forecast's, as a share of the median."""
        return self.forecast_ms / self.p50_ms - 1

    @property
    def undisturbed_error(self) -> float:
        """As a share of the fastest tenth."""
        return self.forecast_ms / self.p10_ms - 1

    def to_plain(self) -> dict[str, Any]:
        """For JSON: what was measured, and both errors."""
        return {**asdict(self), "error": self.error, "undisturbed_error": self.undisturbed_error}


@dataclass(frozen=True)
class Calibration:
    """figures: by their names in a target's file.  runs: of artefacts, with the seconds of each time."""

    figures: dict[str, Figure]
    runs: tuple[tuple[Path, Phase, tuple[float, ...]], ...]


def calibrate(artefacts: Sequence[Path], threads: int, tokens: int, progress: Progress) -> Calibration:
    """Measure the figures, and the runs of the artefacts in between.

    Raises ArtefactError for an artefact that does not run, or whose shapes stay open.
    """
    given = benches()
    runs = [(path, phase) for path in artefacts for phase in phases(path, tokens, {})]
    calls = [*(_of_bench(bench, threads) for bench in given), *(_of_phase(phase, threads) for _, phase in runs)]
    seconds = _timed(calls, progress)
    measured = zip(runs, seconds[len(given) :], strict=True)
    return Calibration(
        _figures(given, [percentile(each, 10) for each in seconds[: len(given)]], threads),
        tuple((path, phase, tuple(taken)) for (path, phase), taken in measured),
    )


def compare(calibration: Calibration, target: Target, tokens: int) -> list[Comparison]:
    """What is forecast for the runs from the target's figures, and what was measured."""
    found = []
    forecasts = {path: forecast(path, target, tokens) for path, _, _ in calibration.runs}
    for path, phase, seconds in calibration.runs:
        [told] = [each for each in forecasts[path] if each.phase == phase.name]
        p50, p10 = (percentile(seconds, share) * 1e3 for share in (50, 10))
        found.append(Comparison(str(path), phase.name, told.seconds * 1e3, p50, p10))
    return found


def written(calibration: Calibration, base: str, threads: int) -> str:
    """The figures as a target's file, which extends `base`."""
    lines = [
        f"# This machine, measured by compress calibrate-target: {this_machine(threads)}.",
        f"extends: {base}",
        f"description: {this_machine(threads).cpu}, {_threads(threads)} (measured)",
    ]
    above = ""
    for name, figure in calibration.figures.items():
        field, _, number = name.partition(".")
        text = f'{{value: {figure.value:.4g}, source: {figure.source}, note: "{figure.note}"}}'
        if number and field != above:
            lines.append(f"{field}:")
        lines.append(f"  {number}: {text}" if number else f"{field}: {text}")
        above = field
    return "\n".join(lines) + "\n"


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """A line a run."""
    lines = [f"{'forecast, ms':>12}  {'p50, ms':>10}  {'error':>6}  {'fastest tenth':>13}  {'error':>6}  run"]
    for each in comparisons:
        errors = [f"{100 * error:+.0f} %" for error in (each.error, each.undisturbed_error)]
        lines.append(
            f"{each.forecast_ms:12.3f}  {each.p50_ms:10.3f}  {errors[0]:>6}  {each.p10_ms:13.3f}  {errors[1]:>6}  "
            f"{each.path}, {each.phase}"
        )
    return "\n".join(lines)


def _figures(given: Sequence[Bench], seconds: Sequence[float], threads: int) -> dict[str, Figure]:
    found: dict[str, list[tuple[float, str]]] = {}
    for bench, taken in zip(given, seconds, strict=True):
        rate = taken / bench.work if bench.figure == "kernel_seconds" else bench.work / taken
        found.setdefault(bench.figure, []).append((rate, bench.about))
    return {
        name: Figure(median(rate for rate, _ in rates), "measured", _note([about for _, about in rates], threads))
        for name, rates in sorted(found.items())
    }


def _note(abouts: Sequence[str], threads: int) -> str:
    what = abouts[0] if len(abouts) == 1 else f"median of {'; '.join(abouts)}"
    return f"{what}; {_threads(threads)}"


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def _of_bench(bench: Bench, threads: int) -> Callable[[], object]:
    import onnxruntime

    options = session_options(threads)
    model = bench.model.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, bench.inputs)


def _of_phase(phase: Phase, threads: int) -> Callable[[], object]:
    traced = trace(phase.path, phase.sizes, phase.values)
    options = session_options(threads)
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
    session = inference_session(phase.path, options)
    defaults = {given.name for given in session.get_overridable_initializers()}
    inputs = {tensor.name: _filled(tensor) for tensor in traced.inputs}
    inputs |= {name: value for name, value in phase.values.items() if name in defaults}

    def call() -> object:
        with running(phase.path):
            return session.run(None, inputs)

    return call


def _filled(tensor: Tensor) -> NDArray[Any]:
    """Numbers for an input: what is given, normal ones, or ones, which are a mask that hides nothing."""
    if tensor.data is not None:
        return tensor.data
    if tensor.kind in ("FLOAT", "FLOAT16"):
        return np.random.default_rng(0).standard_normal(tensor.shape).astype(_TYPES[tensor.kind])
    return np.ones(tensor.shape, _TYPES[tensor.kind])


def _timed(calls: Sequence[Callable[[], object]], progress: Progress) -> list[list[float]]:
    """Seconds of each time of each call: rounds of all of them, until the time is over, but three at least."""
    for call in calls:
        for _ in range(_WARMUPS):
            call()
    times: list[list[float]] = [[] for _ in calls]
    gc.disable()
    end = time.perf_counter() + _SECONDS
    for number in progress(range(_ROUNDS), "calibrate", _ROUNDS):
        if number >= 3 and time.perf_counter() > end:
            continue
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            own.append(time.perf_counter() - start)
    gc.enable()
    return times
