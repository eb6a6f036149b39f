"""What a model loses when one of its weights is rounded: the KL divergence of its outputs from the float model's.

`second_order` estimates it for all layers and choices by one backward; `Measured` runs the model for one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.calls import forward, logits_of
from compress.models.gradients import answer_itself, of_inputs, output_gradients
from compress.models.layers import Weighted, raw_weight
from compress.numerics.distillation import forward_kl

IMAGES, TOKENS = 128, 2048  # rows of logits, of images and of tokens, that losses are estimated on
_LOGITS = 1 << 26  # that one loss is measured on: 256 tokens of a vocabulary of 262,144
_AT_ONCE = 1 << 24  # logits that are compared at once

# Gives the weight of a layer, rounded as a choice would.
Trial = Callable[[], Tensor]


def rows_of(batches: Iterable[tuple[Tensor, ...]], model: nn.Module) -> list[tuple[Tensor, ...]]:
    """The first batches, as many as give enough rows of logits."""
    kept, rows = [], 0
    for batch in batches:
        with torch.no_grad():
            shape = logits(model, batch).shape
        kept.append(batch)
        rows += shape[:-1].numel()
        if rows >= (IMAGES if len(shape) == 2 else TOKENS):
            return kept
    if not kept:
        raise ModelError("there are no calibration data to measure losses on")
    return kept


def logits(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """[…, classes] of one batch."""
    return logits_of(forward(model, *batch))


def second_order(
    model: nn.Module,
    layers: Mapping[str, Weighted],
    trials: Mapping[str, Sequence[Trial]],
    batches: Sequence[tuple[Tensor, ...]],
    seed: int,
    progress: Callable[..., Iterator[Any]],
) -> dict[str, list[float]]:
    """By layer, the KL divergence a row of logits that each choice is estimated to cost, in nats.

    ½ E (g · ΔW x)², with g the gradient of −log p(y) for y drawn from the model's own answer: the second-order term of
    the divergence, by Fisher's information (Martens 2014, arXiv:1412.1193).  Of images the product is summed over all
    places of a sample before it is squared, of tokens each counts by itself.
    """
    sums = {name: [0.0] * len(choices) for name, choices in trials.items()}
    rows = 0
    generator = torch.Generator().manual_seed(seed)
    for batch in progress(batches, "sensitivity of layers", len(batches)):
        with output_gradients(model, layers, of_inputs) as seen:
            rows += answer_itself(model, batch, generator)
        for name, layer in layers.items():
            with torch.no_grad():
                for number, lost in enumerate(_lost(layer, trials[name], seen[name])):
                    sums[name][number] += lost
    return {name: [0.5 * total / rows for total in totals] for name, totals in sums.items()}


def _lost(layer: Weighted, weights: Sequence[Trial], seen: Sequence[tuple[Tensor, Tensor]]) -> Iterator[float]:
    """For each of the weights the sum of (g · what the layer then gives in addition)²."""
    before = [layer.forward(x) for x, _ in seen]
    for trial in weights:
        total = 0.0
        with _in_place_of(layer, trial()):
            for (x, gradient), output in zip(seen, before, strict=True):
                product = gradient * (layer.forward(x) - output)  # the layer itself: some pad, some scale
                each = product.flatten(1).sum(1) if isinstance(layer, nn.Conv1d | nn.Conv2d) else product.sum(-1)
                total += float(each.square().sum())
        yield total


@contextmanager
def _in_place_of(layer: Weighted, weight: Tensor) -> Iterator[None]:
    """Scope: the layer, and all that share its weight, have this one."""
    own = raw_weight(layer)
    assert own is not None
    before = own.data
    own.data = weight.to(before.dtype)
    try:
        yield
    finally:
        own.data = before


class Measured:
    """Runs the model with one weight in place of another, on the first batches, and compares with its first answers."""

    def __init__(self, model: nn.Module, batches: Sequence[tuple[Tensor, ...]]) -> None:
        self.model, self.batches = model, batches
        self.wanted: list[Tensor] = []  # of as many batches as have _LOGITS

    @torch.no_grad()
    def lost(self, layer: Weighted, weight: Tensor) -> float:
        """The KL divergence a row of logits, in nats, with `weight` in the layer."""
        if not self.wanted:
            self.wanted = list(self._answers())
        with _in_place_of(layer, weight):
            total = sum(_divergence(own, theirs) for own, theirs in zip(self._answers(), self.wanted, strict=True))
        return max(0.0, total) / sum(map(len, self.wanted))

    def _answers(self) -> Iterator[Tensor]:
        """[rows, classes] of each batch."""
        count = 0
        for batch in self.batches:
            if count >= _LOGITS:
                return
            answer = logits(self.model, batch).flatten(0, -2).float()
            count += answer.numel()
            yield answer


def _divergence(student: Tensor, teacher: Tensor) -> float:
    """Summed over rows [N, C], a part of them at once."""
    rows = max(1, _AT_ONCE // student.shape[-1])
    parts = zip(torch.split(student, rows), torch.split(teacher, rows), strict=True)
    return sum(float(forward_kl(own, theirs).double().sum()) for own, theirs in parts)
