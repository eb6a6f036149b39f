"""plan(recipe): what a run would do, layer by layer, with forecasts of size, memory and time.  Nothing is written.

The bytes of weights are counted from the format that the passes give each (codes, scales, zero points), those of the
file by `compress.sizing`; memory and time are rough: one forward of the float model is timed, and the passes' forwards
are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from compress.errors import require
from compress.jobs import Job, kind_of
from compress.passes import Pass
from compress.passes.factorize import Factorize
from compress.passes.prune_magnitude import PruneMagnitude
from compress.passes.prune_sparsegpt import PruneSparseGPT
from compress.passes.prune_wanda import PruneWanda
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.quantize_svd import QuantizeSvd
from compress.passes.quantize_ternary import QuantizeTernary
from compress.passes.quantize_weights import QuantizeWeights
from compress.passes.reconstruct import Reconstruct
from compress.passes.training import TaughtPass, TrainingPass
from compress.progress import Reporter
from compress.recipe import Recipe
from compress.sizing import branch_bytes, file_bytes_of, rows_left, stored_layers, weight_bytes, weight_formats
from compress.teachers import context_of

if TYPE_CHECKING:
    from torch import nn


FLOAT_BITS = 32
_NODE_BYTES = 150  # of the float file beside its weights, a call: measured on EfficientNet-Lite0
_LIBRARY_BYTES = 700_000_000  # torch, timm and the exporter, resident
_FIXED_SECONDS = 20.0  # importing, starting the measuring processes
_EXPORT_SECONDS = 0.2  # a call, for the float model's export and that of the result
# Forwards that a step of training costs: one forward, and two for the gradients.
_TRAINING = 3


@dataclass(frozen=True)
class LayerPlan:
    """One weighted layer.  num_bits: of its weight, 32 for float.  stored_bytes: of its weight in the model
    file, with a float branch beside it."""

    name: str
    shape: tuple[int, ...]
    num_bits: float
    stored_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    passes            their names, in order.
    float_bytes       forecast of the float model file.
    model_bytes       forecast of the model file.
    peak_memory_bytes forecast, of the compressing process.
    seconds           forecast, of the whole run on this machine.
    """

    name: str
    passes: tuple[str, ...]
    layers: tuple[LayerPlan, ...]
    float_bytes: int
    model_bytes: int
    peak_memory_bytes: int
    seconds: float

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The plan as text: a line a layer, then the forecasts."""
        yield f"{self.name}: load, float, {', '.join(self.passes)}{', ' if self.passes else ''}export, measure"
        width = max((len(layer.name) for layer in self.layers), default=0)
        for layer in self.layers:
            shape = " × ".join(map(str, layer.shape))
            bits = "float32" if layer.num_bits == FLOAT_BITS else f"{layer.num_bits:.3g} bits"
            yield f"  {layer.name:<{width}}  {bits:>7}  {layer.stored_bytes:>12,} bytes  {shape}"
        share = self.model_bytes / self.float_bytes
        yield f"forecast: model file {self.model_bytes:,} bytes, {share:.2f} of the float model's {self.float_bytes:,}"
        yield f"forecast: peak memory about {self.peak_memory_bytes / 1e9:.1f} GB, time about {_rounded(self.seconds)}"


def plan(recipe: Recipe, *, allow_code: bool = False) -> Plan:
    """The plan of a recipe.  The model is loaded, and run on one batch of its data, but not changed.

    Raises CompressError for whatever is wrong with the recipe, the model or the data.
    """
    require("torch", "planning a run", "torch")
    job = kind_of(recipe).load(recipe, allow_code)
    passes = _fitting(recipe, job.model)
    weights = sum(4 * layer.weight.numel() for layer in stored_layers(job.model).values())
    num_calls, largest, forward_seconds = _forward(job)
    rest = _other_bytes(job.model)
    beside = rest + num_calls * _NODE_BYTES
    context = context_of(recipe, job, allow_code, Reporter())
    num_samples = job.num_calibration if recipe.passes else 0
    samples = sum(forwards(step, num_samples) for step in recipe.passes) + 3 * job.num_evaluation
    samples += sum(training_forwards(step, job) for step in recipe.passes if isinstance(step, TrainingPass))
    return Plan(
        recipe.name,
        tuple(step.name for step in recipe.passes),
        tuple(layer_plans(passes, job.model)),
        float_bytes=weights + beside,
        model_bytes=file_bytes_of(job.model, passes, context, job.file_bytes),
        peak_memory_bytes=_LIBRARY_BYTES
        + 4 * (weights + rest)
        + largest * (4 * recipe.calibration.batch_size + num_samples),
        seconds=_FIXED_SECONDS + _EXPORT_SECONDS * num_calls + samples * forward_seconds,
    )


def layer_plans(passes: Sequence[Pass], model: nn.Module) -> Iterator[LayerPlan]:
    """What the passes would store of each layer."""
    from compress.exporter.codecs import stored_bytes

    formats, branches = weight_formats(passes, model), branch_bytes(passes, model)
    for name, layer in stored_layers(model).items():
        shape = (rows_left(passes, model, layer), *layer.weight.shape[1:])
        num_bits = formats[name].code_bits if name in formats else FLOAT_BITS
        size = stored_bytes(formats[name]) if name in formats else 4 * prod(shape)
        yield LayerPlan(name, shape, num_bits, size + branches.get(name, 0))


def _fitting(recipe: Recipe, model: nn.Module) -> list[Pass]:
    """The passes, those that share out the budget as if all their layers were alike: in the largest choice that fits,
    or else the smallest."""
    passes: list[Pass] = list(recipe.passes)
    limits = [limit for limit in (recipe.budget.size_bytes, recipe.budget.model_size_bytes) if limit is not None]
    for place, step in enumerate(recipe.passes):
        if not (isinstance(step, QuantizeWeights) and step.shares_budget()):
            continue
        sizes = []
        for choice in step.steps():
            passes[place] = choice
            formats, weights = weight_formats(passes, model), stored_layers(model)
            size = sum(
                weight_bytes(name, formats[name]) if name in formats else 4 * layer.weight.numel()
                for name, layer in weights.items()
            )
            sizes.append((size, choice))
        sizes.sort(key=lambda pair: pair[0])
        fitting = [choice for size, choice in sizes if not limits or size + _other_bytes(model) <= min(limits)]
        passes[place] = fitting[-1] if fitting else sizes[0][1]
    return passes


def forwards(step: Pass, num_samples: int) -> float:
    """How many samples' forwards a pass is forecast to cost: one of each calibration sample, unless more is known."""
    known: dict[type[Pass], Callable[[Any], float]] = {
        Factorize: lambda factors: 2 * num_samples,
        PruneMagnitude: lambda magnitude: 0,
        PruneSparseGPT: lambda sparsegpt: 3 * num_samples,
        PruneWanda: lambda wanda: 3 * num_samples,
        QuantizeDynamic: lambda dynamic: 0,
        QuantizeStatic: lambda static: (1 if static.observer == "minmax" else 2) * num_samples,
        QuantizeSvd: lambda svd: (
            (num_samples if svd.alpha is not None else 0) + (0 if svd.algorithm == "rtn" else 3 * num_samples)
        ),
        QuantizeTernary: lambda ternary: 0 if ternary.algorithm == "rtn" else 3 * num_samples,
        QuantizeWeights: lambda weights: 0 if weights.algorithm == "rtn" else 3 * num_samples,
        Reconstruct: lambda learned: _TRAINING * learned.iterations * learned.batch_size + 2 * num_samples,
    }
    return known[type(step)](step) if type(step) in known else num_samples


def training_forwards(step: TrainingPass, job: Job) -> float:
    """How many samples' forwards a training is forecast to cost, a teacher's counted as the student's own."""
    steps = step.num_steps(len(job.examples(step.dataset)))
    taught = isinstance(step, TaughtPass) and step.teaches
    return steps * step.batch_size * (_TRAINING + taught)


def _forward(job: Job) -> tuple[int, int, float]:
    """Of one forward: its calls, the bytes of the largest result but for its own, and the seconds, all for
    one sample."""
    import torch

    from compress.models.calls import record

    inputs = job.example()
    graph = record(job.model, *(tensor[:1] for tensor in inputs))
    with torch.inference_mode():
        started = time.perf_counter()
        job.model(*inputs)
        seconds = (time.perf_counter() - started) / len(inputs[0])
    return len(graph.calls), max(4 * prod(call.shape) for call in graph if call.key not in graph.outputs), seconds


def _other_bytes(model: nn.Module) -> int:
    """Of all parameters but weights: the biases of the layers, and a normalisation's shift (its scale is folded)."""
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    from compress.models.layers import WEIGHTED

    size = 0
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not (name == "weight" and isinstance(module, (*WEIGHTED, nn.Embedding, _BatchNorm))):
                size += 4 * parameter.numel()
    return size


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
