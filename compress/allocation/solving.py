"""allocate: the choice of every layer, with the least predicted loss among those that fit.

Losses of layers are taken to add up.  All are estimated by the second-order term; those of the layers that make up
most of the sum, at the choice that was made and the ones beside it, are measured then, the estimates of the others
brought to their scale, and the choice is made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from compress.allocation.knapsack import TooSmall, choose
from compress.allocation.sensitivity import Measured, rows_of, second_order
from compress.files import write_text
from compress.models.layers import Weighted, raw_weight
from compress.models.structure import is_translator
from compress.numerics.weight import QuantizedWeight

_ROUNDS = 3
_COVERED = 0.9  # share of the predicted loss whose layers are measured
_MOST, _MOST_OF_TOKENS = 40, 16  # how many of these at the most, of images and of translators
_FITS, _LEFT = 5, 1e-3  # solutions that are tried against the file, and the share of room that may stay unused
_CLOSEST = 1e-12  # nats: below it a ratio of losses says nothing


@dataclass
class Losses:
    """What is known of the loss of each item and choice, in nats a row of logits, kept in a file as it is found.

    estimated  [items][choices].
    measured   by 'item/choice'.
    """

    estimated: list[list[float]] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
    path: Path | None = None

    @staticmethod
    def of(path: Path | None) -> Losses:
        """What the file holds; nothing if there is none."""
        if path is None or not path.is_file():
            return Losses(path=path)
        plain = json.loads(path.read_text(encoding="utf-8"))
        return Losses(plain["estimated"], plain["measured"], path)

    def keep(self) -> None:
        if self.path is not None:
            write_text(self.path, json.dumps({"estimated": self.estimated, "measured": self.measured}) + "\n")

    def only(self, asked: Collection[str]) -> Losses:
        """With these alone measured: what else the file knows other budgets asked for, and it decides nothing here."""
        return replace(self, measured={key: self.measured[key] for key in asked})

    def table(self) -> NDArray[np.float64]:
        """[items, choices]: measured where that is known; estimates, by the median ratio of what was measured of a
        choice to its estimates, elsewhere."""
        estimated = np.array(self.estimated)
        known = np.full_like(estimated, np.nan)
        for key, value in self.measured.items():
            item, choice = map(int, key.split("/"))
            known[item, choice] = value
        usable = ~np.isnan(known) & (estimated > _CLOSEST) & (known > _CLOSEST)
        ratios = np.where(usable, known / np.where(usable, estimated, 1.0), np.nan)
        overall = float(np.median(ratios[usable])) if usable.any() else 1.0
        factors = [
            float(np.median(column[~np.isnan(column)])) if (~np.isnan(column)).any() else overall for column in ratios.T
        ]
        return np.where(np.isnan(known), estimated * np.array(factors), known)


@dataclass(frozen=True)
class Item:
    """A weight, under the names of all layers that share it."""

    names: tuple[str, ...]
    layer: Weighted
    formats: tuple[QuantizedWeight, ...]


@dataclass(frozen=True)
class Allocation:
    """What was chosen.

    choices    by layer, the number of its choice.
    losses     by layer, those of its choices, nats a row of logits.
    predicted  the sum of those that were chosen.
    uniform    by choice, what all layers alike would lose; None where that does not fit.
    measured   how many of the losses were measured, not estimated.
    """

    choices: dict[str, int]
    losses: dict[str, tuple[float, ...]]
    predicted: float
    uniform: tuple[float | None, ...]
    measured: int


def items_of(layers: Mapping[str, Weighted], formats: Mapping[str, Sequence[QuantizedWeight]]) -> list[Item]:
    """The weights of `layers`, with what each may become, by the name of one of the layers that have it."""
    groups: dict[int, list[str]] = {}
    for name, layer in layers.items():
        groups.setdefault(id(raw_weight(layer)), []).append(name)
    return [
        Item(tuple(names), layers[names[0]], tuple(next(formats[name] for name in names if name in formats)))
        for names in groups.values()
    ]


def allocate(
    model: nn.Module,
    layers: Mapping[str, Weighted],
    items: Sequence[Item],
    sizes: NDArray[np.int64],
    room: int,
    batches: Callable[[], Any],
    *,
    excess: Callable[[Mapping[str, int]], int] | None = None,
    seed: int = 0,
    kept: Path | None = None,
    progress: Callable[..., Iterator[Any]],
) -> Allocation:
    """The allocation of `layers`, whose weights are `items`.

    sizes   [items, choices], bytes in the file.
    room    bytes that all may take.
    excess  bytes by which the file with these choices, by layer, would miss its budget: what lies between weights, such
            as the padding of pages, is in no weight's size.  Asked until there are none, with that much less room.
    kept    a file that keeps the losses: those of the same model, data and choices are not taken again.

    Raises TooSmall, with what the smallest choices would lose, if not even these fit.
    """
    losses = Losses.of(kept)
    rows = rows_of(batches(), model)
    if not losses.estimated:
        trials = {
            name: [lambda each=each: each.dequantize() for each in item.formats]
            for item in items
            for name in item.names
        }
        found = second_order(model, layers, trials, rows, seed, progress)
        losses.estimated = [[sum(parts) for parts in zip(*map(found.get, item.names), strict=True)] for item in items]
        losses.keep()
    every, smallest = np.arange(len(items)), sizes.argmin(1)
    least = int(sizes[every, smallest].sum())
    if least > room:
        raise TooSmall(least, room, float(losses.only(()).table()[every, smallest].sum()))
    run, asked = Measured(model, rows), dict[str, None]()
    most = _MOST_OF_TOKENS if is_translator(model) else _MOST
    for _ in range(_ROUNDS):
        table = losses.only(asked).table()
        matter = [pair for pair in _matter(table, choose(table, sizes, room), sizes, most) if _key(*pair) not in asked]
        if not matter:
            break
        unknown = [pair for pair in matter if _key(*pair) not in losses.measured]
        for item, choice in progress(unknown, "measuring layers", len(unknown)):
            value = run.lost(items[item].layer, items[item].formats[choice].dequantize())
            losses.measured[_key(item, choice)] = value
            losses.keep()
        asked |= dict.fromkeys(_key(*pair) for pair in matter)
    table = losses.only(asked).table()

    def by_layer(chosen: NDArray[np.int64]) -> dict[str, int]:
        return {name: int(choice) for item, choice in zip(items, chosen, strict=True) for name in item.names}

    chosen = choose(table, sizes, room)
    if excess is not None:
        try:
            chosen, room = fitted(table, sizes, room, lambda numbers: excess(by_layer(numbers)))
        except TooSmall as error:
            raise TooSmall(least, error.room, float(table[every, smallest].sum())) from error
    fits = sizes.sum(0) <= room
    return Allocation(
        by_layer(chosen),
        {name: tuple(row) for item, row in zip(items, table.tolist(), strict=True) for name in item.names},
        float(table[every, chosen].sum()),
        tuple(float(total) if fit else None for total, fit in zip(table.sum(0), fits, strict=True)),
        len(asked),
    )


def fitted(
    table: NDArray[np.float64],
    sizes: NDArray[np.int64],
    room: int,
    excess: Callable[[NDArray[np.int64]], int],
) -> tuple[NDArray[np.int64], int]:
    """The choices that lose the least of those that were tried and fit, and the room that they were solved for.

    Too large a file lessens the room by what it is too large, one that fits gives back what it leaves, a few times.
    Raises TooSmall.
    """
    found: tuple[NDArray[np.int64], int] | None = None
    too_much = np.iinfo(np.int64).max  # the least room of which the file was too large
    tries = 0
    while found is None or (tries < _FITS and room > found[1]):
        chosen, tries = choose(table, sizes, room), tries + 1
        over = excess(chosen)
        if over > 0:
            too_much, room = min(too_much, room), room - over
        else:
            found = chosen, room
            room = min(room + (-over if -over > _LEFT * room else 0), too_much - 1)
    return found


def _key(item: int, choice: int) -> str:
    return f"{item}/{choice}"


def _matter(
    table: NDArray[np.float64], chosen: NDArray[np.int64], sizes: NDArray[np.int64], most: int
) -> Iterator[tuple[int, int]]:
    """(item, choice) of the items that make up most of the loss: the chosen one, and the next smaller and larger.

    A model of many alike layers has hundreds of those, and each takes a run of it: the largest are measured.
    """
    at = table[np.arange(len(chosen)), chosen]
    order = np.argsort(-at, kind="stable")
    covered = np.cumsum(at[order]) - at[order] < _COVERED * at.sum()
    for item in order[covered][:most]:
        by_size = np.argsort(sizes[item], kind="stable").tolist()
        place = by_size.index(int(chosen[item]))
        for choice in by_size[max(0, place - 1) : place + 2]:
            yield int(item), int(choice)
