"""Fisher's information of the channels that blocks give: how much an error of each changes the model's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.models.gradients import answer_itself, of_outputs, output_gradients
from compress.numerics.block_error import row_sizes


def channel_information(
    model: nn.Module,
    blocks: Sequence[str],
    batches: Sequence[tuple[Tensor, ...]],
    seed: int,
    progress: Callable[..., Iterator[Any]],
) -> dict[str, Tensor]:
    """By block [C], E[g²·m]: g the gradient of −log p(y) for y drawn from the model's own answer, m the mean square of
    the token or image that a channel's value belongs to: the information of errors that are shares of that size."""
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(blocks, 0)
    generator = torch.Generator().manual_seed(seed)
    for batch in progress(batches, "information of channels", len(batches)):
        with output_gradients(model, blocks, of_outputs) as seen:
            answer_itself(model, batch, generator)
        for block, pairs in seen.items():
            for output, gradient in pairs:
                each = gradient.square() * row_sizes(output)
                channels = each.movedim(1, -1) if each.dim() == 4 else each
                rows = channels.flatten(0, -2)
                sums[block] = sums.get(block, torch.zeros(rows.shape[1])) + rows.sum(0)
                counts[block] += len(rows)
    return {block: total / counts[block] for block, total in sums.items()}
