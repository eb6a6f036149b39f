"""The allocation of a model: fits, loses less than all layers alike, and goes on from what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.allocation import solving
from compress.allocation.knapsack import TooSmall, choose
from compress.allocation.sensitivity import Measured
from compress.allocation.solving import Allocation, Losses, allocate, fitted, items_of
from compress.exporter.codecs import stored_bytes
from compress.models.layers import select
from compress.numerics.grid import nearest
from compress.passes.base import silent
from tests.language import decoder
from tests.nets import conv_net, images

BITS = (2, 3, 4, 8)


def uneven() -> nn.Module:
    """A network of which the last layer matters most, and the first hardly."""
    model = conv_net()
    with torch.no_grad():
        model.head.weight.mul_(4)
    return model


def allocation(model: nn.Module, room: int, kept: Path | None = None) -> tuple[Allocation, np.ndarray, list[str]]:
    layers = select(model, ["*"])
    items = items_of(layers, {name: [nearest(layer.weight, bits) for bits in BITS] for name, layer in layers.items()})
    sizes = np.array([[stored_bytes(each) for each in item.formats] for item in items], np.int64)
    found = allocate(model, layers, items, sizes, room, lambda: [(images(64),)], kept=kept, progress=silent)
    return found, sizes, list(layers)


def lost(model: nn.Module, bits: dict[str, int]) -> float:
    """The divergence of the whole model with these bits, on images that were not calibrated on."""
    x = images(256, seed=7)
    with torch.no_grad():
        before = model(x).log_softmax(-1)
        weights = {name: model.get_submodule(name).weight.clone() for name in bits}
        for name, number in bits.items():
            model.get_submodule(name).weight.data.copy_(nearest(weights[name], number).dequantize())
        after = model(x).log_softmax(-1)
        for name, weight in weights.items():
            model.get_submodule(name).weight.data.copy_(weight)
    return float((before.exp() * (before - after)).sum(-1).mean())


def test_what_is_solved_fits_and_beats_all_layers_alike_at_the_same_bytes() -> None:
    model = uneven()
    _, sizes, names = allocation(model, 10**9)
    room = int(sizes[:, 1].sum())  # of 3 bits everywhere
    found, _, _ = allocation(model, room)
    assert sum(sizes[place, found.choices[name]] for place, name in enumerate(names)) <= room
    assert len(set(found.choices.values())) > 1
    solved = lost(model, {name: BITS[choice] for name, choice in found.choices.items()})
    assert solved < 0.9 * lost(model, dict.fromkeys(names, 3))
    assert found.uniform[2:] == (None, None)
    assert found.uniform[1] is not None
    assert found.predicted < found.uniform[1]


def test_with_room_for_all_each_gets_the_most() -> None:
    found, _, names = allocation(uneven(), 10**9)
    assert found.choices == dict.fromkeys(names, 3)


def test_too_little_room_is_told_with_the_smallest_and_its_loss() -> None:
    with pytest.raises(TooSmall) as caught:
        allocation(uneven(), 10)
    assert caught.value.smallest > 10
    assert caught.value.loss is not None
    assert caught.value.loss > 0


def test_losses_are_taken_once_and_a_killed_allocation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "losses.json"
    model = uneven()
    first, _, _ = allocation(model, 900, file)
    kept = json.loads(file.read_text())
    assert first.measured == len(kept["measured"]) > 0
    del kept["measured"][next(iter(kept["measured"]))]
    file.write_text(json.dumps(kept))
    calls = []
    own = Measured.lost
    monkeypatch.setattr(Measured, "lost", lambda self, *args: calls.append(1) or own(self, *args))
    monkeypatch.setattr(solving, "second_order", None)  # not called again
    again, _, _ = allocation(model, 900, file)
    assert again == first
    assert len(calls) == 1


def test_of_many_layers_the_largest_alone_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "_MOST", 1)
    monkeypatch.setattr(solving, "_ROUNDS", 1)
    found, _, _ = allocation(uneven(), 900)
    assert 2 <= found.measured <= 3  # of one layer: its choice and those beside it


def test_what_other_budgets_measured_decides_nothing(tmp_path: Path) -> None:
    alone, _, _ = allocation(uneven(), 900, tmp_path / "alone.json")
    kept = json.loads((tmp_path / "alone.json").read_text())
    others = {f"{item}/{choice}": 1e3 for item in range(5) for choice in range(4)}
    (tmp_path / "both.json").write_text(json.dumps({**kept, "measured": {**others, **kept["measured"]}}))
    beside, _, _ = allocation(uneven(), 900, tmp_path / "both.json")
    assert beside == alone
    assert len(others) > alone.measured


def losses_and_sizes() -> tuple[np.ndarray, np.ndarray]:
    sizes = np.tile(np.array([2, 3, 4, 8]) * 1000, (20, 1))
    return np.random.default_rng(0).random((20, 1)) * np.array([16.0, 4.0, 1.0, 0.01]), sizes


@pytest.mark.parametrize("padding", [0, 7_000, -7_000])
def test_room_that_is_left_is_given_back(padding: int) -> None:
    losses, sizes = losses_and_sizes()
    every, budget = np.arange(20), 80_000
    found, room = fitted(losses, sizes, budget, lambda chosen: int(sizes[every, chosen].sum()) + padding - budget)
    used = int(sizes[every, found].sum())
    assert budget - padding - 1000 < used <= budget - padding
    assert used <= room
    best = choose(losses, sizes, budget - padding)
    assert losses[every, found].sum() == pytest.approx(losses[every, best].sum())


def test_of_solutions_that_fit_and_do_not_one_that_fits_is_given() -> None:
    losses, sizes = losses_and_sizes()
    every, asked = np.arange(20), []

    def excess(chosen: np.ndarray) -> int:  # pages: steps of 4,096 bytes
        asked.append(-(-int(sizes[every, chosen].sum()) // 4_096) * 4_096 - 80_000)
        return asked[-1]

    found, _ = fitted(losses, sizes, 80_000, excess)
    assert excess(found) <= 0
    assert len(asked) <= 8
    with pytest.raises(TooSmall):
        fitted(losses, sizes, 80_000, lambda _: 1000)


def test_estimates_are_brought_to_the_scale_of_what_was_measured() -> None:
    losses = Losses([[4.0, 1.0], [8.0, 2.0], [2.0, 1.0]], {"0/0": 2.0, "1/1": 6.0})
    assert losses.table().tolist() == [[2.0, 3.0], [4.0, 6.0], [1.0, 3.0]]
    assert Losses([[4.0, 1.0]]).table().tolist() == [[4.0, 1.0]]
    # of a choice that was never measured: the median of all ratios, ½ and 3
    losses = Losses([[4.0, 1.0, 8.0], [8.0, 2.0, 4.0]], {"0/0": 2.0, "1/1": 6.0})
    assert losses.table()[:, 2].tolist() == [8.0 * 1.75, 4.0 * 1.75]


def test_layers_that_share_a_weight_are_one_item() -> None:
    model = decoder("gemma")
    layers = select(model, ["role:embedding"], embeddings=True)
    [item] = items_of(layers, {"lm_head": [nearest(model.lm_head.weight[:2], 4)]})
    assert sorted(item.names) == ["lm_head", "model.embed_tokens"]
