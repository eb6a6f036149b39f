"""correct.bias: quantization shifts the mean of a layer's output, and the bias can take that out (Nagel et al. 2019,
arXiv:1906.04721, sec. 4.2, with the means measured on calibration data)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import Tensor, nn


@register("correct.bias")
@dataclass(frozen=True)
class CorrectBias(Pass):
    """Take the mean error that quantization causes, measured on calibration data, out of every layer's bias.

    Layers are corrected in the order they run, each on the inputs that the corrected layers before it give.
    """

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import quantized_weights

        if not quantized_weights(model):
            raise ModelError(f"{self.name}: no weight is quantized: put quantize.weights or quantize.static before")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        import torch

        from compress.models.blocks import BlockWalk, find_blocks, inside, last_holding, run_block
        from compress.models.layers import weighted_layers
        from compress.models.quantized import as_float, keep_float_bias, stored

        batches = list(context.batches())
        blocks = find_blocks(model, *context.example())
        exact, quantized = BlockWalk(model, blocks, batches), BlockWalk(model, blocks, batches)
        layers = {name: layer for name, layer in weighted_layers(model).items() if stored(layer) is not None}
        blocks = blocks[: last_holding(blocks, layers) + 1]
        for block in context.progress(blocks, "correcting biases", len(blocks)):
            mine = {name: layer for name, layer in layers.items() if inside(name, block)}
            with as_float(model), means(mine) as wanted:
                outputs = run_block(model, block, exact.inputs(block))
            inputs = quantized.inputs(block)
            for name, layer in mine.items():
                if wanted[name].count == 0:  # the model's forward leaves it out
                    continue
                with means({name: layer}) as given:
                    run_block(model, block, inputs)
                shift = wanted[name].value - given[name].value
                keep_float_bias(layer)
                with torch.no_grad():
                    if layer.bias is None:
                        layer.bias = torch.nn.Parameter(shift, requires_grad=False)
                    else:
                        layer.bias.add_(shift)
            if block != blocks[-1]:  # the outputs of a head are large
                exact.done(block, outputs)
                quantized.done(block, run_block(model, block, inputs))
        return model


class Mean:
    """The mean of a layer's output for each channel, [out], streamed."""

    def __init__(self, channel_axis: int) -> None:
        self.axis = channel_axis
        self.total: Tensor | None = None
        self.count = 0

    def update(self, output: Tensor) -> None:
        flat = output.detach().double().movedim(self.axis, -1).reshape(-1, output.shape[self.axis])
        self.total = flat.sum(0) if self.total is None else self.total + flat.sum(0)
        self.count += len(flat)

    @property
    def value(self) -> Tensor:
        assert self.total is not None
        return (self.total / self.count).float()


@contextmanager
def means(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Mean]]:
    """Scope: forwards update the mean output of each layer.  Leaves no hook behind."""
    from torch import nn

    from compress.models.hooks import removing

    found = {name: Mean(-1 if isinstance(layer, nn.Linear) else 1) for name, layer in layers.items()}

    def observe(mean: Mean) -> Any:
        return lambda module, inputs, output: mean.update(output)

    with removing(layer.register_forward_hook(observe(found[name])) for name, layer in layers.items()):
        yield found
