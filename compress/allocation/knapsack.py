"""choose: of each item one choice, so that the sizes fit and the losses are least: a multiple-choice knapsack.

Solved exactly, as a mixed integer program, by HiGHS in scipy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compress.errors import CompressError


class TooSmall(CompressError):
    """Not even the smallest choice of each item fits.

    smallest  bytes of those.
    room      bytes that there are.
    loss      what they would lose, where that is known.
    """

    def __init__(self, smallest: int, room: int, loss: float | None = None) -> None:
        super().__init__(f"the smallest choices take {smallest:,} bytes, and there is room for {room:,}")
        self.smallest, self.room, self.loss = smallest, room, loss


def choose(
    losses: NDArray[np.float64], sizes: NDArray[np.int64], room: int, together: Sequence[Sequence[int]] = ()
) -> NDArray[np.int64]:
    """The choice of each item, [items], with the least sum of losses among those whose sizes sum to at most `room`.

    losses    [items, choices], of any scale; infinite where a choice is impossible.
    sizes     [items, choices], bytes.
    together  items that must take the same choice.

    Of equal losses the smaller size is taken.  Raises TooSmall if nothing fits.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_matrix

    groups = _groups(len(losses), together)
    loss = np.stack([losses[group].sum(0) for group in groups])
    size = np.stack([sizes[group].sum(0) for group in groups])
    possible = np.isfinite(loss)
    smallest = int(np.where(possible, size, np.iinfo(np.int64).max).min(1).sum())
    if smallest > room:
        raise TooSmall(smallest, room)
    count, choices = loss.shape
    span = float(np.ptp(loss[possible])) or 1.0
    total = float(size.sum()) or 1.0
    # a billionth of the span for all bytes together: enough to prefer the smaller of equals, too little to matter
    cost = np.where(possible, loss, 0.0) / span + 1e-9 * size / total
    unit = float(size.max()) or 1.0  # the solver's tolerances are absolute
    rows = np.repeat(np.arange(count), choices)
    one_each = coo_matrix((np.ones(count * choices), (rows, np.arange(count * choices))))
    constraints = [
        LinearConstraint(one_each, 1, 1),
        LinearConstraint(coo_matrix(size.reshape(1, -1) / unit), -np.inf, room / unit),
    ]
    found = milp(
        cost.ravel(),
        constraints=constraints,
        integrality=np.ones(count * choices),
        bounds=Bounds(0, possible.ravel().astype(float)),
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        raise CompressError(f"the allocation was not solved: {found.message}")
    chosen = found.x.reshape(count, choices).argmax(1)
    result = np.empty(len(losses), np.int64)
    for group, choice in zip(groups, chosen, strict=True):
        result[group] = choice
    return result


def _groups(count: int, together: Sequence[Sequence[int]]) -> list[list[int]]:
    """Every item in one group, in the order of their first items."""
    group = {item: sorted(set(items)) for items in together for item in items}
    found = {tuple(group.get(item, [item])) for item in range(count)}
    return [list(items) for items in sorted(found)]
