"""Which channels go at which level of pruning: a Plan turns the scores of all groups into levels that only rise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from compress.models.channels import ChannelGroup


@dataclass(frozen=True)
class Plan:
    """levels: from none to the most that may go; at a higher one no group keeps more.

    scores     of each group's channels, [size]; the smallest go first, of equal ones the first.
    together   rank the channels of all groups in one list; else the same share of each group goes.
    multiple   what stays of a group is a multiple of this and of its blocks, or the whole group.
    max_ratio  the largest share of a group that goes.
    """

    groups: tuple[ChannelGroup, ...]
    scores: tuple[Tensor, ...]
    together: bool
    multiple: int
    max_ratio: float

    @property
    def num_channels(self) -> int:
        return sum(group.size for group in self.groups)

    def at_share(self, share: float) -> list[tuple[ChannelGroup, Tensor]]:
        """The channels that go if `share` of them is to go: of each group, or of all."""
        if self.together:
            return self.chosen(self._counts_together(math.floor(share * self.num_channels + 1e-9)))
        return self.chosen([math.floor(share * group.size + 1e-9) for group in self.groups])

    def first(self, reached: Callable[[list[tuple[ChannelGroup, Tensor]]], bool]) -> list[tuple[ChannelGroup, Tensor]]:
        """The channels that go at the lowest level that `reached` is true of, by bisection; at the highest, if of none.

        `reached` is taken to stay true from there on.
        """
        shares = self._levels()
        low, high = 0, len(shares) - 1
        while low < high:
            middle = (low + high) // 2
            if reached(self.at_share(shares[middle])):
                high = middle
            else:
                low = middle + 1
        return self.at_share(shares[high])

    def _levels(self) -> list[float]:
        """The shares at which something changes."""
        if self.together:
            return [count / self.num_channels for count in range(self.num_channels + 1)]
        return sorted({count / group.size for group in self.groups for count in range(group.size + 1)})

    def _counts_together(self, count: int) -> list[int]:
        """How many of each group are among the `count` least of all that may go."""
        ranked = sorted(
            (value, place, rank)
            for place, scores in enumerate(self.scores)
            for rank, value in enumerate(sorted(scores.tolist())[: self.most(self.groups[place].size)])
        )
        counts = [0] * len(self.groups)
        for _, place, _ in ranked[:count]:
            counts[place] += 1
        return counts

    def chosen(self, counts: Sequence[int]) -> list[tuple[ChannelGroup, Tensor]]:
        """The least of each group, as many as may go and leave a multiple."""
        found = []
        for group, scores, count in zip(self.groups, self.scores, counts, strict=True):
            gone = scores.argsort(stable=True)[: self.count(group, count)]
            if len(gone):
                found.append((group, gone.sort().values))
        return found

    def count(self, group: ChannelGroup, asked: int) -> int:
        """How many of a group go where so many are to: what stays is a multiple."""
        stays = group.size - min(asked, self.most(group.size))
        multiple = math.lcm(self.multiple, group.block)
        return group.size - min(group.size, -(-stays // multiple) * multiple)

    def most(self, size: int) -> int:
        """Of a group of that size, what may go."""
        return min(size - 1, math.floor(self.max_ratio * size + 1e-9))
