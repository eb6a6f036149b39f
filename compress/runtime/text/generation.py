"""Greedy decoding and sampling of many texts at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from compress.runtime.text.choosing import Rules, choose
from compress.runtime.text.pieces import Text
from compress.runtime.text.tensors import Ints, Logits
from compress.runtime.text.values import Decoding, Translation


class Run(Protocol):
    """Rows of a model that are being written, whatever model it is."""

    @property
    def logits(self) -> Logits:
        """float32 [rows, vocabulary], of the next token of each row; the rows' own memory, to be changed at will."""

    def select(self, rows: Ints) -> None:
        """Go on with these rows, in this order, some perhaps more than once."""

    def advance(self, tokens: Ints) -> None:
        """Append a token to each row."""


class Line:
    """One text that is being written.

    text      its tokens and what they say.
    limit     tokens at most, 1 or more.
    finished  it came to its end, and was not cut.
    """

    def __init__(self, text: Text, limit: int) -> None:
        self.text, self.limit, self.finished = text, limit, False

    def translation(self) -> Translation:
        return Translation(self.text.text, tuple(self.text.tokens), self.finished)


def write(
    run: Run, lines: Sequence[Line], rules: Rules, decoding: Decoding, aloud: bool = True
) -> Iterator[tuple[int, str, bool]]:
    """Write the lines, a row each; yields (line, new piece of its text, whether it is done), done once a line.

    Rows that are done are dropped, so that the others go on faster.
    """
    live = list(range(len(lines)))
    random = [np.random.default_rng(decoding.seed) for _ in lines]
    while live:
        tokens, kept = [], []
        for row, number in enumerate(live):
            line = lines[number]
            text, last = line.text, len(line.text.tokens) + 1 == line.limit
            wish = rules.restrict(run.logits[row], text.tokens, decoding.no_repeat_ngram_size, last)
            token = choose(wish, decoding, random[number])
            piece = ""
            if token in rules.ends:
                line.finished = not (last and token == rules.forced_last)
                done = True
            else:
                piece = text.add(token, aloud)
                line.finished = text.stopped
                done = text.stopped or last
            if done:
                yield number, piece + text.close(), True
            else:
                tokens.append(token)
                kept.append(row)
                if piece:
                    yield number, piece, False
        live = [live[row] for row in kept]
        if live:
            run.select(np.array(kept))
            run.advance(np.array(tokens))
