"""Beam search, with the scores and the ends of transformers' own.

A text's hypotheses are scored by Σ log p / length ** length_penalty, the end token counted.  Each step takes the best
continuations of all its beams; those that end among the first `num_beams` are hypotheses, the best that do not go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from compress.runtime.text.choosing import Rules, top
from compress.runtime.text.generation import Line, Run
from compress.runtime.text.likelihood import log_sum_exp
from compress.runtime.text.pieces import Text
from compress.runtime.text.values import Decoding


class _Candidate(NamedTuple):
    """A continuation of a beam.  beam: its place among the text's beams; ended: no token may follow."""

    score: float
    beam: int
    token: int
    tokens: tuple[int, ...]
    ended: bool
    finished: bool


@dataclass
class _Search:
    """The search for one text: hypotheses (score, tokens, finished), the best first."""

    line: Line
    beams: list[tuple[float, tuple[int, ...]]]
    hypotheses: list[tuple[float, tuple[int, ...], bool]] = field(default_factory=list)
    done: bool = False


def search(
    run: Run,
    lines: Sequence[Line],
    rules: Rules,
    decoding: Decoding,
    early_stopping: bool | Literal["never"] = False,
) -> Iterator[tuple[int, str, bool]]:
    """Write the lines, a row each at the beginning; yields (line, its whole text, True) as each is done."""
    searches = [_Search(line, [(0.0, ())]) for line in lines]
    live = list(range(len(lines)))
    while live:
        order, tokens, row = [], [], 0
        for number in live:
            own = searches[number]
            rows = range(row, row + len(own.beams))
            row += len(own.beams)
            found = _candidates(run, rows, own, rules, decoding)
            chosen = _step(own, found, rules, decoding, early_stopping)
            if own.done:
                yield number, _told(own), True
            else:
                order += [rows[candidate.beam] for candidate in chosen]
                tokens += [candidate.token for candidate in chosen]
        live = [number for number in live if not searches[number].done]
        if live:
            run.select(np.array(order))
            run.advance(np.array(tokens))


def _candidates(run: Run, rows: range, own: _Search, rules: Rules, decoding: Decoding) -> list[_Candidate]:
    """The best continuations of a text's beams, the best first; enough that `num_beams` of them do not end."""
    number = max(2, 1 + len(rules.ends)) * decoding.num_beams
    length = len(own.beams[0][1])
    last = length + 1 == own.line.limit
    found = []
    for beam, (row, (score, tokens)) in enumerate(zip(rows, own.beams, strict=True)):
        logits = run.logits[row]
        logits -= log_sum_exp(logits)
        wish = rules.restrict(logits, tokens, decoding.no_repeat_ngram_size, last)
        found += [(score + float(wish[token]), beam, int(token)) for token in top(wish, min(number, len(wish)))]
    best = sorted((one for one in found if one[0] > -np.inf), key=lambda one: (-one[0], one[1], one[2]))[:number]
    candidates = []
    for score, beam, token in best:
        tokens = own.beams[beam][1]
        by_end = token in rules.ends
        if not by_end:
            tokens = (*tokens, token)
        stopped = not by_end and _stops(own.line.text, tokens)
        forced = last and token == rules.forced_last
        candidates.append(
            _Candidate(score, beam, token, tokens, by_end or stopped or last, (by_end or stopped) and not forced)
        )
    return candidates


def _step(
    own: _Search,
    candidates: list[_Candidate],
    rules: Rules,
    decoding: Decoding,
    early_stopping: bool | Literal["never"],
) -> list[_Candidate]:
    """Take the candidates into the search, and return those that go on as its beams."""
    number, penalty = decoding.num_beams, decoding.length_penalty
    length = len(own.beams[0][1]) + 1 + rules.forced_first
    full = len(own.hypotheses) == number
    if not (full and early_stopping is True):
        ended = [one for one in candidates[:number] if one.ended]
        own.hypotheses += [(one.score / length**penalty, one.tokens, one.finished) for one in ended]
        own.hypotheses.sort(key=lambda hypothesis: -hypothesis[0])
        del own.hypotheses[number:]
    going = [one for one in candidates if not one.ended][:number]
    own.beams = [(one.score, one.tokens) for one in going]
    if len(own.hypotheses) == number or not going:
        longest = own.line.limit + rules.forced_first
        hopeful = longest if early_stopping == "never" and penalty > 0 else length
        own.done = early_stopping is True or not going or going[0].score / hopeful**penalty <= own.hypotheses[-1][0]
    return going


def _stops(text: Text, tokens: tuple[int, ...]) -> bool:
    """Whether these tokens, in place of the text's own, hold a stop text."""
    if not text.stops:
        return False
    trial = Text(text.tokenizer, text.separator, text.stops)
    trial.tokens = list(tokens[:-1])
    trial.add(tokens[-1], aloud=False)
    return trial.stopped


def _told(own: _Search) -> str:
    _, tokens, finished = own.hypotheses[0]
    own.line.text.tokens = list(tokens)
    own.line.finished = finished
    return own.line.text.close()
