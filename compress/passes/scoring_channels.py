"""How much each channel of a group matters, by one criterion or another; all have one signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.channels import ChannelGroup
    from compress.passes.base import Context

# A model, its groups, what else may be asked → the importance of each group's channels, [size] each; None for a group
# of which the criterion says nothing.
Scorer = Callable[["nn.Module", Sequence["ChannelGroup"], "Context"], "list[Tensor | None]"]


def magnitude(model: nn.Module, groups: Sequence[ChannelGroup], context: Context) -> list[Tensor | None]:
    """The L2 norm of all weights of convolutions and linear layers that write or read the channel."""
    from compress.numerics.importance import row_energy

    def energy(layer: Any, side: str) -> Tensor:
        return row_energy(layer.weight if side == "out" else layer.weight.transpose(0, 1))

    return [_summed(model, group, energy, ("out", "in")).sqrt() for group in groups]


def fpgm(model: nn.Module, groups: Sequence[ChannelGroup], context: Context) -> list[Tensor | None]:
    """The distances of the channel's filter to the others of its layer, summed over the layers that write it."""
    from compress.numerics.importance import distance_to_others

    return [_summed(model, group, lambda layer, _: distance_to_others(layer.weight), ("out",)) for group in groups]


def bn_scale(model: nn.Module, groups: Sequence[ChannelGroup], context: Context) -> list[Tensor | None]:
    """|γ| of the batch normalisations that carry the channel, their mean (Liu et al. 2017, arXiv:1708.06519)."""
    import torch
    from torch import nn

    found: list[Tensor | None] = []
    for group in groups:
        norms = [(member, model.get_submodule(member.module)) for member in group.members]
        scales = [
            torch.zeros(group.size, dtype=torch.float64).index_add_(
                0, member.root, norm.weight.detach().double().abs()[member.own]
            )
            for member, norm in norms
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.weight is not None
        ]
        found.append(torch.stack(scales).mean(0) if scales else None)
    if all(scores is None for scores in found):
        raise ModelError("criterion 'bn_scale' needs batch normalisations, and no channel has one: put it before fold")
    return found


def taylor(model: nn.Module, groups: Sequence[ChannelGroup], context: Context) -> list[Tensor | None]:
    """The squared first-order change of the loss without the channel, the mean over the calibration batches.

    The loss is the cross-entropy against the classes that the model itself says: calibration data have no labels.
    """
    import torch

    from compress.models.calls import forward, tensors
    from compress.numerics.importance import first_order

    readers = {m.module: model.get_submodule(m.module) for group in groups for m in group.members if m.side == "in"}
    weights: list[Any] = [layer.weight for layer in readers.values()]
    wanted = [weight.requires_grad for weight in weights]
    totals = [torch.zeros(group.size, dtype=torch.float64) for group in groups]
    batches = list(context.batches())
    for weight in weights:
        weight.requires_grad_(True)
    try:
        for batch in context.progress(batches, "gradients", len(batches)):
            with torch.enable_grad():
                logits = tensors(forward(model, *batch))[0]
                loss = torch.nn.functional.cross_entropy(logits, logits.detach().argmax(-1))
                gradients = dict(zip(readers, torch.autograd.grad(loss, weights), strict=True))
            for total, group in zip(totals, groups, strict=True):
                change = _summed(
                    model,
                    group,
                    lambda layer, _, name: first_order(layer.weight, gradients[name]),  # noqa: B023 - used at once
                    ("in",),
                    named=True,
                )
                total += change.square() / len(batches)
    finally:
        for weight, before in zip(weights, wanted, strict=True):
            weight.requires_grad_(before)
    return list(totals)


def random(model: nn.Module, groups: Sequence[ChannelGroup], context: Context) -> list[Tensor | None]:
    """A draw from the seed: what the other criteria are to be compared with."""
    import torch

    generator = torch.Generator().manual_seed(context.seed)
    return [torch.rand(group.size, dtype=torch.float64, generator=generator) for group in groups]


# By name, and whether scores are divided by their group's mean where groups are ranked together.
SCORERS: dict[str, tuple[Scorer, bool]] = {
    "magnitude": (magnitude, True),
    "bn_scale": (bn_scale, False),
    "taylor": (taylor, False),
    "fpgm": (fpgm, True),
    "random": (random, False),
}


def _summed(
    model: nn.Module,
    group: ChannelGroup,
    score: Callable[..., Tensor],
    sides: tuple[str, ...],
    named: bool = False,
) -> Tensor:
    """Σ over the group's convolutions and linear layers on these sides of what each says of its own channels."""
    import torch

    from compress.models.layers import WEIGHTED

    total = torch.zeros(group.size, dtype=torch.float64)
    for member in group.members:
        layer = model.get_submodule(member.module)
        if member.side in sides and isinstance(layer, WEIGHTED):
            more = (member.module,) if named else ()
            total.index_add_(0, member.root, score(layer, member.side, *more).detach()[member.own])
    return total
