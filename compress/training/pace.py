"""Pace: what is said of a training while it runs: its loss, how fast it goes, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from compress.durations import duration
from compress.training.examples import NOTHING, Batch

SAY_SECONDS = 30.0


class Pace:
    """Says a line every half minute and at the end.

    say    takes the line.
    first  the step that the training begins with, or goes on with; total: its steps.
    """

    def __init__(self, say: Callable[[str], None], first: int, total: int) -> None:
        self.say, self.first, self.total = say, first, total
        self.started = self.said = time.monotonic()
        self.losses: list[float] = []
        self.count = 0

    def done(self, step: int, loss: float, rate: float, count: int, unit: str) -> None:
        """Step number `step`, from 0, is done, at that learning rate; it learned from `count` items, called `unit`."""
        self.losses.append(loss)
        self.count += count
        now, last = time.monotonic(), step + 1 == self.total
        if now - self.said <= SAY_SECONDS and not last:
            return
        mean = sum(self.losses) / len(self.losses)
        speed = self.count / max(now - self.said, 1e-9)
        left = (now - self.started) / (step + 1 - self.first) * (self.total - step - 1)
        line = f"step {step + 1} of {self.total}: loss {mean:.4f}, learning rate {rate:.2g}, {speed:.3g} {unit}/s"
        self.say(line if last else f"{line}, {duration(left)} left")
        self.said, self.losses, self.count = now, [], 0


def items_of(batch: Batch) -> tuple[int, str]:
    """How many items a batch asks for, and what they are: tokens where each place is asked, else images or examples."""
    if batch.labels.dim() > 1 and not batch.labels.is_floating_point():
        return int((batch.labels != NOTHING).sum()), "tokens"
    inputs: Tensor = batch.inputs[0]
    return len(batch.labels), "images" if inputs.dim() == 4 else "examples"
