"""Statistics of layers' inputs over calibration data, streamed: memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.blocks import Reached
from compress.models.hooks import removing
from compress.models.layers import Layer

PLACES = 784  # 28 × 28


class Gram:
    """Σ x xᵀ over all input vectors of a layer, [groups, K, K] (groups of the convolution), and their number."""

    def __init__(self, name: str, layer: Layer) -> None:
        self.name, self.layer = name, layer
        self.total: Tensor | None = None
        self.count = 0

    def update(self, x: Tensor) -> None:
        vectors = input_vectors(self.layer, x)
        products = vectors.mT @ vectors
        self.total = products if self.total is None else self.total + products
        self.count += vectors.shape[1]

    def hessian(self) -> Tensor:
        """E[x xᵀ], [groups, K, K]: half the Hessian of the squared output error for each row of the weight.

        Raises ModelError if the layer did not run, or met values that are not finite.
        """
        if self.total is None:
            raise ModelError(f"{self.name} did not run on the calibration data: put it under 'ignore'")
        if not bool(torch.isfinite(self.total).all()):
            raise ModelError(f"the inputs of {self.name} are not finite on the calibration data")
        return self.total / self.count

    def importance(self) -> Tensor:
        """The Hessian's diagonal for each row of the weight, [out, K] or [1, K], never quite zero."""
        diagonal = self.hessian().diagonal(dim1=1, dim2=2)
        floor = 1e-6 * diagonal.mean() + 1e-12
        per_group = (self.layer.weight.shape[0] // diagonal.shape[0]) if diagonal.shape[0] > 1 else 1
        return (diagonal + floor).repeat_interleave(per_group, dim=0)


def input_vectors(layer: Layer, x: Tensor) -> Tensor:
    """The vectors that meet a layer's weight rows, [groups, N, K]: im2col for convolutions, a linear layer's inputs.

    Of a convolution's places at most PLACES an image are taken, evenly spread: neighbours say nearly the same.
    """
    if isinstance(layer, nn.Linear):
        return x.detach().reshape(1, -1, x.shape[-1])
    if not isinstance(layer, nn.Conv2d) or isinstance(layer.padding, str):
        raise ModelError(f"the inputs of {layer} are not unfolded: use algorithm 'rtn' for it, or prune.magnitude")
    x = x.detach()
    if set(layer.kernel_size) == {1} and not any(layer.padding):
        columns = x[:, :, :: layer.stride[0], :: layer.stride[1]].flatten(2)
    else:
        columns = torch.nn.functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    columns = columns[:, :, :: -(-columns.shape[2] // PLACES)]
    batch, _, places = columns.shape
    vectors = columns.reshape(batch, layer.groups, -1, places).permute(1, 0, 3, 2)
    return vectors.reshape(layer.groups, batch * places, -1)


@contextmanager
def collect(layers: Mapping[str, Layer], runs: int | None = None) -> Iterator[dict[str, Gram]]:
    """Scope: forwards of the model update one Gram a layer.  Leaves no hook behind.

    runs  how often the layers run in one forward, all together: with the last one the forward ends, by Reached.
    """
    grams = {name: Gram(name, layer) for name, layer in layers.items()}
    seen = 0

    def observe(gram: Gram) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            nonlocal seen
            gram.update(inputs[0])
            seen += 1
            if seen == runs:
                seen = 0
                raise Reached

        return hook

    with removing(layer.register_forward_pre_hook(observe(grams[name])) for name, layer in layers.items()):
        yield grams
