"""How much of each group of channels goes, so that a file fits its budget and the least of what matters is lost.

A group's loss is the sum of the scores of its channels that go, its size the weights that go with them: a
multiple-choice knapsack.  A weight between two groups counts for both, so that the sizes are those beside the last
choice, and the choice is made again until it stays.  How many bytes the weights that are left may be is asked of the
file, as it would be built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    none, most = [0] * len(plan.groups), [steps[-1] for steps in _levels(plan)]
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
        counts = _least_loss(plan, weights, small[0] + math.floor(share * (large[0] - small[0])))
        left, found = weights(counts), excess(counts)
        if found <= 0 and left > small[0]:
            small, best = (left, found), counts
        elif found > 0 and left < large[0]:
            large = left, found
        else:  # nothing lies between what fits and what does not
            break
    return best


def _levels(plan: Plan) -> list[list[int]]:
    """By group, how many channels may go: none first."""
    found = []
    for group in plan.groups:
        found.append(sorted({plan.count(group, asked) for asked in range(plan.most(group.size) + 1)}))
    return found


def _some(steps: list[int]) -> list[int]:
    """At most _LEVELS of them, the first and the last among these."""
    stride = max(1, math.ceil((len(steps) - 1) / (_LEVELS - 1)))
    return sorted({*steps[::stride], steps[-1]})


def _least_loss(plan: Plan, weights: Callable[[Sequence[int]], int], room: int) -> list[int]:
    """The counts of the least loss that leave at most `room` weights; most go where nothing else fits."""
    import numpy as np

    from compress.allocation.knapsack import TooSmall, choose

    levels = [_some(steps) for steps in _levels(plan)]
    width = max(map(len, levels))
    losses = np.full((len(levels), width), np.inf)
    lost = [np.concatenate([[0.0], np.cumsum(np.sort(scores.numpy()))]) for scores in plan.scores]
    for place, steps in enumerate(levels):
        losses[place, : len(steps)] = lost[place][steps]
    every = range(len(levels))
    chosen = [steps[-1] for steps in levels]
    best = (float(losses[every, [len(steps) - 1 for steps in levels]].sum()), chosen)
    for _ in range(_ROUNDS):
        sizes, base = _beside(weights, levels, chosen, width)
        try:
            picked = choose(losses, sizes, room - base)
        except TooSmall:
            break
        counts = [steps[choice] for steps, choice in zip(levels, picked, strict=True)]
        if weights(counts) <= room:
            best = min(best, (float(losses[every, picked].sum()), counts))
        if counts == chosen:
            break
        chosen = counts
    return _filled(_levels(plan), lost, best[1], weights, room)


def _filled(
    levels: list[list[int]],
    lost: Sequence[NDArray[np.float64]],
    counts: list[int],
    weights: Callable[[Sequence[int]], int],
    room: int,
) -> list[int]:
    """The counts, and as long as there is room for it one step less of the group that then loses most less a weight."""
    while True:
        now, better = weights(counts), []
        for place, (steps, count) in enumerate(zip(levels, counts, strict=True)):
            at = steps.index(count)
            fewer = [*counts[:place], steps[at - 1], *counts[place + 1 :]]
            if at and (then := weights(fewer)) <= room:
                better.append(((lost[place][count] - lost[place][steps[at - 1]]) / max(1, then - now), fewer))
        if not better:
            return counts
        counts = max(better)[1]


def _beside(
    weights: Callable[[Sequence[int]], int], levels: list[list[int]], chosen: list[int], width: int
) -> tuple[NDArray[np.int64], int]:
    """[groups, choices] weights that each group's choice leaves of its own, and what is left of all else, where the
    other groups are as chosen: their sum at the choice itself is right."""
    import numpy as np

    sizes = np.zeros((len(levels), width), dtype=np.int64)
    for place, steps in enumerate(levels):
        for choice, count in enumerate(steps):
            sizes[place, choice] = weights([*chosen[:place], count, *chosen[place + 1 :]])
    fewest = sizes[np.arange(len(levels)), [len(steps) - 1 for steps in levels]]
    own = np.maximum(sizes - fewest[:, None], 0)
    at = [steps.index(count) for steps, count in zip(levels, chosen, strict=True)]
    return own, weights(chosen) - int(own[np.arange(len(levels)), at].sum())
