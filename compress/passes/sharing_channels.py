"""How much of each group of channels goes, so that a file fits its budget and the least of what matters is lost.

A group's loss is the sum of the scores of its channels that go, its size the weights that go with them: a
multiple-choice knapsack.  A weight between two groups counts for both, so that the sizes are those beside the last
choice, and the choice is made again until it stays.  How many bytes the weights that are left may be is asked of the
file, as it would be built.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from compress.models.channels import ChannelGroup
    from compress.passes.choosing_channels import Plan

_LEVELS = 33  # choices of a group at most, evenly between all and the fewest that may stay
_ROUNDS = 8  # of choosing beside the last choice, and of asking the file
_CLOSE = 0.005  # of the budget: as near as forecasts are held to


def weights_left(model: nn.Module, groups: Sequence[ChannelGroup]) -> Callable[[Sequence[int]], int]:
    """Of convolutions and linear layers, how many weights are left if so many channels of each group go, whichever."""
    import numpy as np

    from compress.models.layers import is_depthwise, weighted_layers

    layers = weighted_layers(model)
    places = {name: place for place, name in enumerate(layers)}
    lost = {
        side: np.zeros((len(layers), len(groups))) for side in ("out", "in")
    }  # channels of a layer for one of a group
    for number, group in enumerate(groups):
        for member in group.members:
            if member.module in layers and not (member.side == "in" and is_depthwise(layers[member.module])):
                lost[member.side][places[member.module], number] += len(member.own) / group.size
    shapes = [layer.weight.shape for layer in layers.values()]
    outputs, inputs = (np.array([shape[axis] for shape in shapes]) for axis in (0, 1))
    kernels = np.array([math.prod(shape[2:]) for shape in shapes])

    def left(counts: Sequence[int]) -> int:
        gone = np.asarray(counts)
        return round(float(((outputs - lost["out"] @ gone) * (inputs - lost["in"] @ gone) * kernels).sum()))

    return left


def shared_out(
    plan: Plan, weights: Callable[[Sequence[int]], int], excess: Callable[[Sequence[int]], int], budget: int
) -> list[int] | None:
    """How many channels of each group go; None if the file is too large even where most go.

    weights  how many are left if so many of each group go.
    excess   bytes by which the file would then miss its budget, negative where it is smaller.
    budget   bytes.
    """
    groups = [_Group.of(plan, place) for place in range(len(plan.groups))]
    none, most = [0] * len(groups), [group.levels[-1] for group in groups]
    over = excess(none)
    if over <= 0:
        return none
    least = excess(most)
    if least > 0:
        return None
    # weights and bytes of what is known to be too large, and of what fits: between them they are taken for a line
    large, small, best = (weights(none), over), (weights(most), least), most
    for _ in range(_ROUNDS):
        if -small[1] <= _CLOSE * budget or large[0] - small[0] <= 1:
            break
        share = -small[1] / (large[1] - small[1])
        counts = _least_loss(groups, weights, small[0] + math.floor(share * (large[0] - small[0])))
        left, found = weights(counts), excess(counts)
        if found <= 0 and left > small[0]:
            small, best = (left, found), counts
        elif found > 0 and left < large[0]:
            large = left, found
        else:  # nothing lies between what fits and what does not
            break
    return best


@dataclass(frozen=True)
class _Group:
    """levels  how many channels may go, none first.
    coarse  at most _LEVELS of them, the first and the last among these.
    lost    by the number of channels that go, the sum of their scores.
    """

    levels: list[int]
    coarse: list[int]
    lost: list[float]

    @staticmethod
    def of(plan: Plan, place: int) -> _Group:
        group, scores = plan.groups[place], sorted(plan.scores[place].tolist())
        levels = sorted({plan.count(group, asked) for asked in range(plan.most(group.size) + 1)})
        stride = max(1, math.ceil((len(levels) - 1) / (_LEVELS - 1)))
        return _Group(levels, sorted({*levels[::stride], levels[-1]}), [0.0, *itertools.accumulate(scores)])


def _least_loss(groups: Sequence[_Group], weights: Callable[[Sequence[int]], int], room: int) -> list[int]:
    """The counts of the least loss that leave at most `room` weights; most go where nothing else fits."""
    import numpy as np

    from compress.allocation.knapsack import TooSmall, choose

    losses = np.full((len(groups), max(len(group.coarse) for group in groups)), np.inf)
    for place, group in enumerate(groups):
        losses[place, : len(group.coarse)] = [group.lost[count] for count in group.coarse]
    chosen = [group.levels[-1] for group in groups]
    best = (_lost(groups, chosen), chosen)
    for _ in range(_ROUNDS):
        sizes, base = _beside(weights, [group.coarse for group in groups], chosen)
        try:
            picked = choose(losses, sizes, room - base)
        except TooSmall:
            break
        counts = [group.coarse[choice] for group, choice in zip(groups, picked, strict=True)]
        if weights(counts) <= room:
            best = min(best, (_lost(groups, counts), counts))
        if counts == chosen:
            break
        chosen = counts
    return _filled(groups, best[1], weights, room)


def _lost(groups: Sequence[_Group], counts: Sequence[int]) -> float:
    return sum(group.lost[count] for group, count in zip(groups, counts, strict=True))


def _filled(
    groups: Sequence[_Group], counts: list[int], weights: Callable[[Sequence[int]], int], room: int
) -> list[int]:
    """The counts, and as long as there is room for it one step less of the group that then loses most less a weight."""
    while True:
        now, better = weights(counts), []
        for place, (group, count) in enumerate(zip(groups, counts, strict=True)):
            if count:
                step = group.levels[group.levels.index(count) - 1]
                fewer = [*counts[:place], step, *counts[place + 1 :]]
                then = weights(fewer)
                if then <= room:
                    better.append(((group.lost[count] - group.lost[step]) / max(1, then - now), fewer))
        if not better:
            return counts
        counts = max(better)[1]


def _beside(
    weights: Callable[[Sequence[int]], int], levels: list[list[int]], chosen: list[int]
) -> tuple[NDArray[np.int64], int]:
    """[groups, choices] weights that each group's choice leaves of its own, and what is left of all else, where the
    other groups are as chosen: their sum at the choice itself is right."""
    import numpy as np

    sizes = np.zeros((len(levels), max(map(len, levels))), dtype=np.int64)
    for place, steps in enumerate(levels):
        for choice, count in enumerate(steps):
            sizes[place, choice] = weights([*chosen[:place], count, *chosen[place + 1 :]])
    fewest = sizes[np.arange(len(levels)), [len(steps) - 1 for steps in levels]]
    own = np.maximum(sizes - fewest[:, None], 0)
    at = [steps.index(count) for steps, count in zip(levels, chosen, strict=True)]
    return own, weights(chosen) - int(own[np.arange(len(levels)), at].sum())
