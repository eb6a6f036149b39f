"""A pass of one's own: few large weights make the steps of all others coarse, and this one cuts them off.
Once it is registered, recipes name it too, with its parameter: `- clip.weights: {share: 0.999}`.

python examples/06_a_new_pass.py
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Interval
from torch import nn

import compress
from compress.errors import PromiseBroken
from compress.models.load import load_model
from compress.models.source import ModelSource
from compress.passes import Context, FoldBatchNorm, Pass, QuantizeWeights, register


@register("clip.weights")
@dataclass(frozen=True)
class ClipWeights(Pass):
    """Cut off the largest weights of every convolution and linear layer.

    share  of a tensor's weights that stay as they are.
    """

    share: Annotated[float, Interval(gt=0, lt=1)] = 0.999

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        for layer in self._layers(model):
            limit = self._limit(layer.weight)
            layer.weight.data.clamp_(-limit, limit)
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        for layer in self._layers(model):
            if not torch.isfinite(layer.weight).all():
                raise PromiseBroken(f"{self.name}: weights that are no numbers")

    def _limit(self, weight: torch.Tensor) -> float:
        magnitudes = weight.detach().abs().flatten()
        return float(magnitudes.kthvalue(max(1, int(self.share * len(magnitudes))))[0])

    @staticmethod
    def _layers(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
        return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def main(directory: Path) -> None:
    loaded = load_model(ModelSource("package:efficientnet-lite0"))
    task = compress.ImageClassification(loaded.preprocessor, len(loaded.labels), labels=loaded.labels)
    images = torch.cat([torch.from_numpy(batch.inputs) for batch in task.calibration()])
    with torch.no_grad():
        wanted = loaded.model.eval()(images)
    rounding = QuantizeWeights(num_bits=6, strategy="tensor")
    for name, passes in {
        "as they are": [FoldBatchNorm(), rounding],
        "clipped": [FoldBatchNorm(), ClipWeights(share=0.9995), rounding],
    }.items():
        model = compress.apply(copy.deepcopy(loaded.model), passes, lambda: [(images,)], target="x86-vnni")
        artefact = compress.export(model, images[:1], directory / name.replace(" ", "-"), target="x86-vnni")
        found = torch.from_numpy(compress.open_session(artefact)(images.numpy()))
        error = float((found - wanted).square().mean() / wanted.var())
        same = float((found.argmax(1) == wanted.argmax(1)).float().mean())
        print(f"{name}: {artefact.model_bytes:,} bytes, error of the logits {error:.2f}, same answer for {same:.0%}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
