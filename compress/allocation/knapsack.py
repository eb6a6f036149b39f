"""choose: of each item one choice, so that the sizes fit and the losses are least: a multiple-choice knapsack.

Solved exactly, as a mixed integer program, by HiGHS in scipy."""

from __future__ import annotations

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


def choose(losses: NDArray[np.float64], sizes: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    """The choice of each item, [items], with the least sum of losses among those whose sizes sum to at most `room`.

    losses  [items, choices], of any scale; infinite where a choice is impossible.
    sizes   [items, choices], bytes.

    Of equal losses the smaller size is taken.  Raises TooSmall if nothing fits.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_matrix

    possible = np.isfinite(losses)
    smallest = int(np.where(possible, sizes, np.iinfo(np.int64).max).min(1).sum())
    if smallest > room:
        raise TooSmall(smallest, room)
    count, choices = losses.shape
    span = float(np.ptp(losses[possible])) or 1.0
    total = float(sizes.sum()) or 1.0
    # a billionth of the span for all bytes together: enough to prefer the smaller of equals, too little to matter
    cost = np.where(possible, losses, 0.0) / span + 1e-9 * sizes / total
    unit = float(sizes.max()) or 1.0  # the solver's tolerances are absolute
    rows = np.repeat(np.arange(count), choices)
    one_each = coo_matrix((np.ones(count * choices), (rows, np.arange(count * choices))))
    constraints = [
        LinearConstraint(one_each, 1, 1),
        LinearConstraint(coo_matrix(sizes.reshape(1, -1) / unit), -np.inf, room / unit),
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
    chosen: NDArray[np.int64] = found.x.reshape(count, choices).argmax(1)
    return chosen
