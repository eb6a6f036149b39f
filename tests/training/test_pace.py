"""What is said of a training while it runs."""

from __future__ import annotations

import pytest
import torch

from compress.training import pace
from compress.training.examples import NOTHING, Batch
from compress.training.pace import Pace, items_of


def test_a_line_has_the_loss_since_the_last_the_speed_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(pace.time, "monotonic", lambda: float(next(clock)))
    lines: list[str] = []
    told = Pace(lines.append, 6, 12)  # it goes on with the seventh step, at 0 s, and takes 20 s for each
    for step, loss in enumerate((5.0, 3.0, 2.0, 2.0, 1.0, 0.5), 6):
        told.done(step, loss, 1e-4, 300, "tokens")
    assert lines == [
        "step 8 of 12: loss 4.0000, learning rate 0.0001, 15 tokens/s, 1 min 20 s left",
        "step 10 of 12: loss 2.0000, learning rate 0.0001, 15 tokens/s, 40.0 s left",
        "step 12 of 12: loss 0.7500, learning rate 0.0001, 15 tokens/s",
    ]


def test_what_a_batch_learns_from() -> None:
    tokens = torch.tensor([[1, 2, NOTHING], [3, NOTHING, NOTHING]])
    assert items_of(Batch((tokens,), tokens)) == (3, "tokens")
    assert items_of(Batch((torch.zeros(2, 3, 4, 4),), torch.tensor([0, 1]))) == (2, "images")
    assert items_of(Batch((torch.zeros(2, 5),), torch.tensor([0, 1]))) == (2, "examples")
