"""What the passes that take a layer's matrix apart ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from compress.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from compress.models.layers import Weighted


def check_matrices(who: str, model: nn.Module, layers: Mapping[str, Weighted]) -> None:
    """Raise ModelError, for the pass `who`, for a layer that is no matrix of its own with finite float numbers.

    layers  some of `whole_layers`.
    """
    from compress.models.finite import refuse_infinite
    from compress.models.layers import sharing
    from compress.models.low_rank import Branched, LowRank, can_be_factorized
    from compress.models.masks import mask_of
    from compress.models.quantized import stored

    for name, layer in layers.items():
        if isinstance(model.get_submodule(name), LowRank | Branched):
            raise ModelError(f"{who}: {name} is of low rank already: put it under 'ignore'")
        if not can_be_factorized(layer):
            raise ModelError(f"{who}: {name} is no linear layer or 1×1 convolution of one group: put it under 'ignore'")
        if stored(layer) is not None or mask_of(layer) is not None:
            told = "quantized" if stored(layer) is not None else "pruned"
            raise ModelError(f"{who}: the weight of {name} is {told} already: put it before that pass")
        if len(sharing(model, layer)) > 1:
            raise ModelError(f"{who}: the weight of {name} is another layer's too: put it under 'ignore'")
        refuse_infinite(who, name, layer)
