"""Pruning as data on a model: a mask of kept weights, a parametrization below the quantized form of the same weight.

The chain of a weight is original → Mask → StoredWeight (`compress.models.quantized`), each part only where a pass put
it: the codes are of the pruned weight, and without them (`as_float`) the model is the pruned float model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.models.layers import Weighted, parametrizations, raw_weight, sharing, weighted_layers
from compress.models.paging import paged_like


class Mask(nn.Module):
    """Parametrization: the module's weight is its original where `mask` (bool, of its shape) is true, else zero.

    No gradient reaches what is pruned, and whatever an optimizer does to the original there, the weight stays zero.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, original: Tensor) -> Tensor:
        # not a product: −w · 0 is −0, which no compression of the file takes for the same byte
        return torch.where(self.mask, original, 0.0)


def set_mask(module: nn.Module, mask: Tensor, model: nn.Module | None = None) -> None:
    """Keep the weights of `module` where `mask` is true, in place of any mask before; what goes is zero at once.

    A value that an earlier mask pruned is zero in the original too: where the new one keeps it, it begins at zero.

    mask   bool, of the weight's shape.
    model  where the weight may be tied: all its modules that hold the same parameter get the same Mask, one object.
    """
    weight = raw_weight(module)
    assert weight is not None
    if mask.dtype != torch.bool or mask.shape != weight.shape:
        told = f"{str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}"
        raise ValueError(f"a mask of a weight {tuple(weight.shape)} is bool and of its shape, not {told}")
    part = Mask(paged_like(mask.detach().clone(), weight))
    for each in [module] if model is None else sharing(model, module):
        before = _part(each)
        if before is not None:
            chain = parametrizations(each)
            chain[list(chain).index(before)] = part
        elif parametrize.is_parametrized(each, "weight"):
            parametrizations(each).insert(0, part)
        else:
            parametrize.register_parametrization(each, "weight", part, unsafe=True)
    _zero(weight, part)


def mask_of(module: nn.Module) -> Tensor | None:
    """True where the module's weight is kept, of its shape; None for a weight that no pass pruned."""
    part = _part(module)
    return None if part is None else part.mask


def masked_layers(model: nn.Module) -> dict[str, Weighted]:
    """The layers and embeddings whose weight is pruned, by name; of those that share one weight, the first."""
    found: dict[Mask, tuple[str, Weighted]] = {}
    for name, layer in weighted_layers(model, embeddings=True).items():
        part = _part(layer)
        if part is not None:
            found.setdefault(part, (name, layer))
    return dict(found.values())


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Every mask by the name of its parameter in the float model, such as `conv_stem.weight`."""
    found = {f"{name}.weight": mask_of(layer) for name, layer in masked_layers(model).items()}
    return {name: mask for name, mask in found.items() if mask is not None}


def num_pruned(model: nn.Module) -> tuple[int, int]:
    """How many weights of convolutions, linear layers and embeddings are pruned, and how many there are."""
    layers = weighted_layers(model, embeddings=True).values()
    originals = {id(weight): weight for layer in layers if (weight := raw_weight(layer)) is not None}
    pruned = sum(mask.numel() - int(mask.count_nonzero()) for mask in masks(model).values())
    return pruned, sum(weight.numel() for weight in originals.values())


def settle_masks(model: nn.Module) -> None:
    """Make the originals zero wherever they are pruned, also where an optimizer has moved them since: then they are
    the weights.  Nothing that the model computes changes."""
    for layer in masked_layers(model).values():
        weight, part = raw_weight(layer), _part(layer)
        assert weight is not None
        assert part is not None
        _zero(weight, part)


def _zero(weight: Tensor, part: Mask) -> None:
    with torch.no_grad():
        weight.masked_fill_(~part.mask, 0.0)


def _part(module: nn.Module) -> Mask | None:
    if not parametrize.is_parametrized(module, "weight"):
        return None
    return next((part for part in parametrizations(module) if isinstance(part, Mask)), None)
