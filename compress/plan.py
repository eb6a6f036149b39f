"""plan(recipe): what a run would do, layer by layer, with forecasts of size, memory and time.  Nothing is written.

The bytes of weights are counted from the format that the passes give each (codes, scales, zero points); memory and
time are rough: one forward of the float model is timed, and the passes' forwards are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
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
from compress.passes.quantize_ternary import QuantizeTernary
from compress.passes.quantize_weights import QuantizeWeights
from compress.passes.reconstruct import Reconstruct
from compress.passes.rounding import RoundingPass
from compress.passes.train_quantized import TrainQuantized
from compress.passes.training import TaughtPass, TrainingPass
from compress.passes.trim_vocabulary import TrimVocabulary
from compress.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Weighted
    from compress.numerics.weight import QuantizedWeight

FLOAT_BITS = 32
# Of the file beside the weights, by the calls of a forward: measured on EfficientNet-Lite0.
_NODE_BYTES = 150
_QUANTIZED_NODE_BYTES = 450  # with QuantizeLinear and DequantizeLinear before and after
_DECODER_BYTES = 1_300  # of the nodes that decode a weight of less than 8 bits
_LIBRARY_BYTES = 700_000_000  # torch, timm and the exporter, resident
_FIXED_SECONDS = 20.0  # importing, starting the measuring processes
_EXPORT_SECONDS = 0.2  # a call, for the float model's export and that of the result
# Forwards that a step of training costs: one forward, and two for the gradients.
_TRAINING = 3


@dataclass(frozen=True)
class LayerPlan:
    """One weighted layer.  num_bits: of its weight, 32 for float.  stored_bytes: of its weight in the model file."""

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
    from compress.exporter.codecs import stored_bytes

    job = kind_of(recipe).load(recipe, allow_code)
    formats = weight_formats(recipe, job.model)
    stored_layers = _stored_layers(job.model)
    layers = []
    for name, layer in stored_layers.items():
        shape = (_rows_left(recipe, job.model, layer), *layer.weight.shape[1:])
        num_bits = formats[name].code_bits if name in formats else FLOAT_BITS
        size = stored_bytes(formats[name]) if name in formats else 4 * _count(shape)
        layers.append(LayerPlan(name, shape, num_bits, size))
    weights = sum(4 * layer.weight.numel() for layer in stored_layers.values())
    num_calls, largest, forward_seconds = _forward(job)
    rest = _other_bytes(job.model)
    quantized = any(isinstance(step, QuantizeStatic) for step in recipe.passes)
    nodes = num_calls * (_QUANTIZED_NODE_BYTES if quantized else _NODE_BYTES)
    nodes += _DECODER_BYTES * sum(weight.num_bits < 8 for weight in formats.values())
    num_samples = job.num_calibration if recipe.passes else 0
    samples = sum(forwards(step, num_samples) for step in recipe.passes) + 3 * job.num_evaluation
    samples += sum(training_forwards(step, job) for step in recipe.passes if isinstance(step, TrainingPass))
    return Plan(
        recipe.name,
        tuple(step.name for step in recipe.passes),
        tuple(layers),
        float_bytes=weights + rest + num_calls * _NODE_BYTES,
        model_bytes=sum(layer.stored_bytes for layer in layers) + rest + nodes,
        peak_memory_bytes=_LIBRARY_BYTES
        + 4 * (weights + rest)
        + largest * (4 * recipe.calibration.batch_size + num_samples),
        seconds=_FIXED_SECONDS + _EXPORT_SECONDS * num_calls + samples * forward_seconds,
    )


def weight_formats(recipe: Recipe, model: nn.Module) -> dict[str, QuantizedWeight]:
    """How each weight would be stored at the end, by layer: of the right shapes, its codes all zero."""
    from compress.models.layers import select
    from compress.numerics.grid import nearest

    formats: dict[str, QuantizedWeight] = {}
    for step in recipe.passes:
        if isinstance(step, RoundingPass | QuantizeStatic | QuantizeDynamic | TrainQuantized):
            embeddings = isinstance(step, RoundingPass | TrainQuantized)
            edges = step.edges(model) if isinstance(step, TrainQuantized) else {}
            for name, layer in select(model, step.targets, step.ignore, embeddings=embeddings).items():
                if name not in formats:  # the codes of the first pass stay
                    two_rows = layer.weight.detach().new_zeros((2, *layer.weight.shape[1:]))
                    if isinstance(step, RoundingPass):
                        grid = step.nearest(two_rows)
                    elif isinstance(step, TrainQuantized):
                        grid = step.grid(two_rows, edges.get(name))
                    else:
                        grid = nearest(two_rows, 8)
                    formats[name] = _with_rows(grid, _rows_left(recipe, model, layer))
    return formats


def _rows_left(recipe: Recipe, model: Any, layer: Weighted) -> int:
    """Rows of a weight, after the passes: of a vocabulary that is trimmed, as many as it may keep."""
    from compress.models.vocabulary import vocabulary_size

    rows = int(layer.weight.shape[0])
    limits = [step.vocab_size for step in recipe.passes if isinstance(step, TrimVocabulary) and step.vocab_size]
    if not limits or rows != vocabulary_size(model):
        return rows
    return min(rows, *limits)


def _stored_layers(model: nn.Module) -> dict[str, Weighted]:
    """The layers whose weights are stored: of those that share one weight, the first."""
    from compress.models.layers import raw_weight, weighted_layers

    first: dict[int, str] = {}
    layers = weighted_layers(model, embeddings=True)
    return {name: layer for name, layer in layers.items() if first.setdefault(id(raw_weight(layer)), name) == name}


def _with_rows(grid: QuantizedWeight, rows: int) -> QuantizedWeight:
    """The format of two rows, for `rows` of them: to find the scales of millions of zeros would take minutes."""

    def repeated(part: Tensor | None) -> Tensor | None:
        if part is None or part.shape[0] == 1:  # one for the whole tensor
            return part
        return part[:1].expand(rows, *part.shape[1:])

    codes, scales = grid.codes[:1].expand(rows, *grid.codes.shape[1:]), repeated(grid.scales)
    assert scales is not None  # every weight has some
    return replace(
        grid, codes=codes, scales=scales, zero_points=repeated(grid.zero_points), multipliers=repeated(grid.multipliers)
    )


def forwards(step: Pass, num_samples: int) -> float:
    """How many samples' forwards a pass is forecast to cost: one of each calibration sample, unless more is known."""
    known: dict[type[Pass], Callable[[Any], float]] = {
        Factorize: lambda factors: 2 * num_samples,
        PruneMagnitude: lambda magnitude: 0,
        PruneSparseGPT: lambda sparsegpt: 3 * num_samples,
        PruneWanda: lambda wanda: 3 * num_samples,
        QuantizeDynamic: lambda dynamic: 0,
        QuantizeStatic: lambda static: (1 if static.observer == "minmax" else 2) * num_samples,
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
    return len(graph.calls), max(4 * _count(call.shape) for call in graph if call.key not in graph.outputs), seconds


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


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
