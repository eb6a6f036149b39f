"""How long a torch model takes beside another: for goals of passes, never for a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

THREADS = 2
PAIRS = 15


def relative_latency(model: nn.Module, reference: nn.Module, inputs: Sequence[Tensor]) -> float:
    """The median over runs side by side of what `model` takes as a share of what `reference` takes."""
    import torch

    from compress.models.calls import forward

    def seconds(each: nn.Module) -> float:
        start = time.perf_counter()
        forward(each, *inputs)
        return time.perf_counter() - start

    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.inference_mode():
            for each in (model, reference):  # the first run of each sets up its kernels
                seconds(each)
            return median(seconds(model) / seconds(reference) for _ in range(PAIRS))
    finally:
        torch.set_num_threads(threads)
