"""A decoder with its cache of keys and values: one graph, model.onnx.

    input_ids int64 [rows, columns], attention_mask int64 [rows, past + columns], position_ids int64 [rows, columns],
    past_key_values.N.key / .value [rows, heads, past, size]  →  logits [rows, columns, vocabulary], present.N.…

Rows are padded on the left, so that all of them end in the same column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ArtefactError
from compress.runtime.artefact import MODEL
from compress.runtime.text.running import SessionRun
from compress.runtime.text.tensors import (
    Head,
    Ints,
    Logits,
    gathered,
    held,
    logits_of,
    open_text_session,
    run,
    type_of,
    view,
)

_PAST, _PRESENT = "past_key_values.", "present."


class Cache:
    """Keys and values of the columns that were read.

    values  OrtValues [rows, heads, past, size], in the order of the model's names.
    mask    int64 [rows, past]: 0 where a row is padded.
    """

    def __init__(self, values: list[Any], mask: Ints) -> None:
        self.values, self.mask = values, mask

    def select(self, rows: Ints) -> None:
        """Keep these rows, in this order, some perhaps more than once."""
        self.values, self.mask = [gathered(value, rows) for value in self.values], self.mask[rows]


class CausalModel:
    """The session of a decoder.  Sizes of the cache are those of the graph."""

    def __init__(self, directory: Path, threads: int) -> None:
        self.path = directory / MODEL
        self.session = open_text_session(self.path, threads)
        inputs = {given.name: given for given in self.session.get_inputs()}
        self.past = {name: given for name, given in inputs.items() if name.startswith(_PAST)}
        if not self.past or "input_ids" not in inputs:
            raise ArtefactError(f"{self.path}: takes {', '.join(inputs)}: a decoder takes input_ids and {_PAST}N.key")
        self.present = [name.replace(_PAST, _PRESENT) for name in self.past]
        self.given = inputs.keys() & {"attention_mask", "position_ids"}
        self.head = Head(self.session, self.path)

    def empty(self, rows: int) -> Cache:
        """The cache before the first token."""
        values = []
        for given in self.past.values():
            _, heads, _, size = given.shape
            if not isinstance(heads, int) or not isinstance(size, int):
                raise ArtefactError(f"{self.path}: '{given.name}' is {given.shape}: heads and their size must be fixed")
            values.append(held(np.zeros((rows, heads, 0, size), type_of(given))))
        return Cache(values, np.zeros((rows, 0), np.int64))

    def read(self, cache: Cache, tokens: Ints, real: Ints, wanted: int) -> Iterator[tuple[int, Logits]]:
        """Read tokens into the cache, and give (column, logits of it and of those after it) for the last `wanted`.

        tokens, real [rows, columns], real 0 where a row is padded.  Logits are float32 [rows, some, vocabulary], in
        blocks that take little memory, each valid until the next is asked for.
        """
        rows, columns = tokens.shape
        for start, end, kept in self.head.blocks(rows, columns, wanted):
            value = self._run(cache, tokens[:, start:end], real[:, start:end], max(kept, 1))
            if kept:
                yield end - kept, logits_of(value, kept)

    def _run(self, cache: Cache, tokens: Ints, real: Ints, kept: int) -> Any:
        mask = np.concatenate([cache.mask, real], axis=1)
        positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, cache.mask.shape[1] :]
        given = {"attention_mask": mask, "position_ids": positions}
        inputs = {name: held(given[name]) for name in self.given}
        inputs |= dict(zip(self.past, cache.values, strict=True))
        outputs = ["logits", *self.present]
        logits, *cache.values = run(
            self.session, self.path, outputs, {"input_ids": held(tokens), **inputs, **self.head.inputs(kept)}
        )
        cache.mask = mask
        return logits

    def begin(self, sequences: Sequence[Sequence[int]], prefix: Prefix | None = None) -> SessionRun:
        """Read the sequences, one a row; what all of them share with the prefix is taken from its cache."""
        cache, tokens, real = self.padded(sequences, prefix)
        [(_, logits)] = self.read(cache, tokens, real, 1)

        def step(token: Ints) -> Logits:
            [(_, after)] = self.read(cache, token, np.ones_like(token), 1)
            return after

        return SessionRun(cache, logits, step)

    def prefix(self, tokens: Sequence[int]) -> Prefix:
        """The cache of tokens that many sequences begin with."""
        cache = self.empty(1)
        whole = np.array([tokens], np.int64)
        for _ in self.read(cache, whole, np.ones_like(whole), 1):
            pass
        return Prefix(tuple(tokens), cache)

    def padded(self, sequences: Sequence[Sequence[int]], prefix: Prefix | None) -> tuple[Cache, Ints, Ints]:
        """(cache, tokens, real): the sequences padded on the left; their first columns lie in the cache already.

        The padding comes before the prefix, in the cache too, so that the distances between columns are those of a
        row read alone, which sliding windows count.  A row that is padded by n columns has n tokens less of the prefix
        in the cache, and reads them again, in place of padding.
        """
        columns = max(map(len, sequences))
        tokens = np.zeros((len(sequences), columns), np.int64)
        real = np.zeros_like(tokens)
        for row, sequence in enumerate(sequences):
            tokens[row, columns - len(sequence) :] = sequence
            real[row, columns - len(sequence) :] = 1
        if prefix is None:
            return self.empty(len(sequences)), tokens, real
        length = min([columns - 1, *(shared(prefix.tokens, sequence) for sequence in sequences)])
        return Cache(prefix.copies(real[:, :length]), real[:, :length]), tokens[:, length:], real[:, length:]


class Prefix:
    """Tokens that many sequences begin with, and their cache of one row."""

    def __init__(self, tokens: tuple[int, ...], cache: Cache) -> None:
        self.tokens, self.cache = tokens, cache

    def copies(self, real: Ints) -> list[Any]:
        """The cache for rows that are padded on the left where real [rows, columns] is 0."""
        values = []
        for value in self.cache.values:
            own = view(value)
            rows = np.zeros((len(real), own.shape[1], real.shape[1], own.shape[3]), own.dtype)
            for row, number in zip(rows, real.sum(axis=1), strict=True):
                row[:, real.shape[1] - number :] = own[0, :, :number]
            values.append(held(rows))
        return values


def shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return number
    return min(len(first), len(second))
