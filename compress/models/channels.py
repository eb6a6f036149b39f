"""Channels that can only go together: which layers write, carry and read each, and a model without some of them.

The dependencies are traced by torch-pruning (Fang et al. 2023, DepGraph, arXiv:2301.12900).  It takes an operator that
it does not know for one that works channel by channel, so each group is tried before it is trusted: the model without
half of its channels must compute what the whole model does where nothing reads them.  A group for which that does not
hold is left whole, with the reason: the zero-padded shortcut of a CIFAR ResNet, a normalisation over all channels, an
attention over them.  Of a GroupNorm whole groups go, so that the means of the others stay.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from compress.errors import require
from compress.models.calls import forward, tensors
from compress.models.layers import WEIGHTED, is_depthwise, raw_weight
from compress.models.loaded import told
from compress.models.structure import set_parameter

TOLERANCE = 1e-4  # of the largest output: sums of fewer numbers round otherwise
Side = Literal["out", "in"]


@dataclass(frozen=True)
class Member:
    """A module that has some channels of a group.

    side   'out': its own channel own[i] is the group's root[i]; 'in': it reads that as its input own[i].
    """

    module: str
    side: Side
    own: Tensor
    root: Tensor


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that go together in all members.

    name   of the first layer that writes them.
    block  so many neighbours go together: those that a GroupNorm takes one mean of.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    block: int = 1


def channel_groups(model: nn.Module, example: Sequence[Tensor]) -> tuple[list[ChannelGroup], dict[str, str]]:
    """The groups that can be made smaller, and why others cannot, by the name of the first layer that writes them.

    Raises ModelError for a network that torch-pruning cannot trace; MissingExtra without torch-pruning.
    """
    require("torch_pruning", "pruning channels", "train")
    groups: list[ChannelGroup] = []
    left: dict[str, str] = {}
    for group, reason in _traced(model, example):
        if reason is None and group.size > 1:
            groups.append(group)
        else:
            left[group.name] = reason or "it has one channel"
    unsound = _unsound(model, groups, example)
    if unsound:
        left |= unsound
        groups = [group for group in groups if group.name not in unsound]
        while groups and _trial(model, groups, example) is not None:  # each alone is sound, and not all together
            left[groups[-1].name] = "its channels are mixed with those of others"
            groups.pop()
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    return sorted(groups, key=lambda group: order[group.name]), left


def remove_channels(model: nn.Module, gone: Sequence[tuple[ChannelGroup, Tensor]]) -> None:
    """Cut these channels (numbers in their group) out of every module that has them, in place."""
    for (name, side), channels in _lost(gone).items():
        _cut(model.get_submodule(name), side, channels)


def lost_counts(gone: Sequence[tuple[ChannelGroup, Tensor]]) -> dict[tuple[str, Side], int]:
    """How many channels each module would lose on each side."""
    return {place: len(channels) for place, channels in _lost(gone).items()}


def _lost(gone: Sequence[tuple[ChannelGroup, Tensor]]) -> dict[tuple[str, Side], set[int]]:
    found: dict[tuple[str, Side], set[int]] = defaultdict(set)
    for group, channels in gone:
        for member in group.members:
            chosen = torch.isin(member.root, channels)
            if bool(chosen.any()):
                found[(member.module, member.side)] |= set(member.own[chosen].tolist())
    return found


def _cut(module: Any, side: Side, gone: set[int]) -> None:
    if isinstance(module, WEIGHTED):
        sides = ("out_features", "in_features") if isinstance(module, nn.Linear) else ("out_channels", "in_channels")
        size = sides[side == "in"]
        keep = _rest(getattr(module, size), gone)
        set_parameter(module, "weight", module.weight[keep] if side == "out" else module.weight[:, keep])
        if side == "out" and module.bias is not None:
            set_parameter(module, "bias", module.bias[keep])
        if is_depthwise(module):
            module.in_channels = module.groups = len(keep)
        setattr(module, size, len(keep))
        return
    if isinstance(module, nn.GroupNorm):
        size, block = "num_channels", module.num_channels // module.num_groups
        module.num_groups -= len(gone) // block
    else:
        size = "num_parameters" if isinstance(module, nn.PReLU) else "num_features"
    keep = _rest(getattr(module, size), gone)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(getattr(module, name, None), Tensor):
            set_parameter(module, name, getattr(module, name)[keep])
    setattr(module, size, len(keep))


def _rest(size: int, gone: set[int]) -> Tensor:
    return torch.tensor([channel for channel in range(size) if channel not in gone])


def _traced(model: nn.Module, example: Sequence[Tensor]) -> Iterator[tuple[ChannelGroup, str | None]]:
    """Each group of torch-pruning, and what in it cannot be cut here."""
    import torch_pruning

    names = {id(module): name for name, module in model.named_modules()}
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    with _differentiable(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on what is tried below
        graph = torch_pruning.DependencyGraph()
        with told("the dependencies of the network's channels cannot be traced"):
            graph.build_dependency(model, tuple(example), verbose=False)
        for found in graph.get_all_groups(root_module_types=WEIGHTED):
            members, reason, block = [], None, 1
            for item in found.items:
                module = item.dep.target.module
                if id(module) not in names:
                    reason = reason or _reason_beside(module)
                    continue
                out = graph.is_out_channel_pruning_fn(item.dep.handler)
                reason = reason or _reason(module)
                own, root = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
                if isinstance(module, nn.GroupNorm):
                    reason = reason or _reason_of_norm(module, own, root)
                    block = math.lcm(block, module.num_channels // module.num_groups)
                members.append(Member(names[id(module)], "out" if out else "in", own, root))
            writers = [m for m in members if m.side == "out" and isinstance(model.get_submodule(m.module), WEIGHTED)]
            first = min(writers, key=lambda member: order[member.module])
            size = int(max(member.root.max() for member in members)) + 1
            if any(len(set(member.own.tolist())) < len(member.own) for member in members):
                reason = reason or "a module has a channel of it twice"
            if not any(member.side == "in" for member in members):  # no layer reads it
                reason = reason or "the model's output"
            yield ChannelGroup(first.module, size, tuple(members), block), reason


def _reason(module: nn.Module) -> str | None:
    """Why a module's channels cannot be cut, or None."""
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1:
        return None if is_depthwise(module) and module.out_channels == module.in_channels else "a grouped convolution"
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.PReLU, *WEIGHTED)):
        return None
    return f"a {type(module).__name__}"


def _reason_of_norm(norm: nn.GroupNorm, own: Tensor, root: Tensor) -> str | None:
    """Why whole groups of a normalisation cannot go with these channels, or None."""
    alone = len(own) == norm.num_channels and torch.equal(own.argsort(), root.argsort())
    return None if alone else "a GroupNorm of more channels than these"


def _reason_beside(node: Any) -> str | None:
    """Of what is no module of the model: an operator of the trace, or a parameter that no known layer owns."""
    if isinstance(node, nn.Parameter):
        return "a parameter that is added or multiplied"
    return "the model's output" if type(node).__name__ == "_OutputOp" else None


def _unsound(model: nn.Module, groups: Sequence[ChannelGroup], example: Sequence[Tensor]) -> dict[str, str]:
    """The groups that fail their trial, with the reason; halves of the groups are tried together."""
    reason = _trial(model, groups, example) if groups else None
    if reason is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: reason}
    half = len(groups) // 2
    return _unsound(model, groups[:half], example) | _unsound(model, groups[half:], example)


def _trial(model: nn.Module, groups: Sequence[ChannelGroup], example: Sequence[Tensor]) -> str | None:
    """Why the model without half of each group is not the model in which nothing reads that half; None if it is."""
    generator = torch.Generator().manual_seed(0)
    gone = [(group, _half(group, generator)) for group in groups]
    whole, smaller = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        for (name, side), channels in _lost(gone).items():
            weight = raw_weight(whole.get_submodule(name))
            if side == "in" and weight is not None:
                weight[:, sorted(channels)] = 0
        try:
            remove_channels(smaller, gone)
            found = tensors(forward(smaller, *example))
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):  # of shapes that do not fit
            return "an operator that is not understood"
        expected = tensors(forward(whole, *example))
    if [each.shape for each in found] != [each.shape for each in expected]:
        return "the model's output"
    off = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    largest = max(float(each.abs().max()) for each in expected)
    return None if off <= TOLERANCE * largest else "an operator that is not understood"


def _half(group: ChannelGroup, generator: torch.Generator) -> Tensor:
    """Half of its blocks, drawn: their channels."""
    count = group.size // group.block
    blocks = torch.randperm(count, generator=generator)[: count // 2]
    return (blocks[:, None] * group.block + torch.arange(group.block)).flatten()


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """Scope: every parameter takes a gradient, which is how calls are traced."""
    before: Mapping[nn.Parameter, bool] = {value: value.requires_grad for value in model.parameters()}
    for value in before:
        value.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for value, wanted in before.items():
            value.requires_grad_(wanted)
