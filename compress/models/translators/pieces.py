"""What a tokenizer's pieces are: how each reads as text, what makes it, and which of two is the better.

Byte-pair encoding merges, again and again, the two neighbours whose pair comes first in its list.  Inside what becomes
one piece, these are the merges that the piece alone would take, whatever stands around it: so each piece is made by one
merge, its last one alone, and text whose pieces are kept with all that makes them is cut as before, when other pieces
are not there: of the merges that could be taken at each step, the first in the list is still among them.
A unigram model takes the best of all ways to cut a text, and the best stays the best among fewer.
"""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from compress.errors import ModelError

_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def steps(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a tokenizer's normalizer, pre-tokenizer, decoder or post-processor, as plain data.

    One of them may be a sequence of others.
    """
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    [inner] = (value for name, value in part.items() if name != "type")
    return [step for each in inner for step in steps(each)]


class Pieces:
    """Of one tokenizer, numbered as it numbers them.

    plain  the tokenizer as plain data.
    names  number → what the tokenizer calls it, of pieces and added tokens.
    added  the numbers of added tokens, which are found in a text before it is cut.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises ModelError for a tokenizer of another kind than BPE, Unigram and WordLevel."""
        self.plain: dict[str, Any] = json.loads(tokenizer.to_str())
        model = self.plain["model"]
        self.kind: str = model["type"]
        if self.kind not in ("BPE", "Unigram", "WordLevel"):
            raise ModelError(f"a tokenizer of kind {self.kind} is not trimmed here: BPE, Unigram and WordLevel are")
        if self.kind == "BPE" and (model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")):
            raise ModelError("a tokenizer whose pieces have a prefix or suffix inside words is not trimmed here")
        listed = [piece for piece, _ in model["vocab"]] if self.kind == "Unigram" else None
        self.numbers: dict[str, int] = (
            dict(model["vocab"]) if listed is None else {piece: number for number, piece in enumerate(listed)}
        )
        self.added = frozenset(token["id"] for token in self.plain["added_tokens"])
        self.names = {number: piece for piece, number in self.numbers.items()}
        self.names |= {token["id"]: token["content"] for token in self.plain["added_tokens"]}
        self._split: dict[int, tuple[int, ...] | None] = {}

    def text(self, number: int) -> str | None:
        """What a piece writes; None for part of a character."""
        name = self.names[number]
        if not self._byte_level:
            return None if name in _BYTES else name.replace("▁", " ")
        try:
            return bytes(_BYTE_LEVEL[character] for character in name).decode()
        except (KeyError, UnicodeDecodeError):
            return None

    def indispensable(self) -> set[int]:
        """Bytes, the token of what is unknown, and what the price of an unknown character is reckoned from."""
        model = self.plain["model"]
        names = {*_BYTES, *(_BYTE_LEVEL if self._byte_level else ())}
        found = {self.numbers[name] for name in names if name in self.numbers}
        if self.kind == "Unigram":
            scores = [score for _, score in model["vocab"]]
            return found | {scores.index(min(scores))} | ({model["unk_id"]} if model["unk_id"] is not None else set())
        unknown = model.get("unk_token")
        return found | ({self.numbers[unknown]} if unknown in self.numbers else set())

    def ranked(self) -> list[int]:
        """All pieces, the best first: single characters, then those of the earliest merge or the highest score."""
        pieces = [number for number in self.numbers.values() if number not in self.added]
        if self.kind == "Unigram":
            scores = [score for _, score in self.plain["model"]["vocab"]]
            return sorted(pieces, key=lambda number: (-scores[number], number))
        if self.kind == "WordLevel":
            return sorted(pieces)
        first = {self.numbers[left + right]: -rank for (left, right), rank in reversed(self._ranks.items())}
        return sorted(pieces, key=lambda number: (-first.get(number, 1), number))

    def merges(self) -> list[tuple[str, str]]:
        """Of byte-pair encoding, the pairs in the order in which they are merged."""
        return list(self._ranks)

    def split(self, number: int) -> tuple[int, ...] | None:
        """The two pieces whose merge makes a piece; () for one that none makes; None if text is never cut into it."""
        name = self.names[number]
        if self.kind != "BPE" or name not in self.numbers:
            return ()
        if number not in self._split:
            found = self._last_merge(name)
            # an added token that no merge makes is found whole
            self._split[number] = () if found is None and number in self.added else found
        return self._split[number]

    def path(self, number: int) -> set[int] | None:
        """A piece, and all that it is made of on the way; None if text is never cut into it."""
        found, waiting = set(), [number]
        while waiting:
            piece = waiting.pop()
            halves = self.split(piece)
            if halves is None:
                return {number} if self._whole_words else None
            found.add(piece)
            waiting += halves
        return found

    def _last_merge(self, name: str) -> tuple[int, ...] | None:
        parts, ranks, numbers = list(name), self._ranks, self.numbers
        if len(parts) == 1:
            return ()
        if any(part not in numbers for part in parts):
            return None
        while len(parts) > 2:
            rank, place = min((ranks.get(pair, _NEVER), place) for place, pair in enumerate(pairwise(parts)))
            if rank == _NEVER:
                return None
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        if (parts[0], parts[1]) not in ranks:
            return None
        return numbers[parts[0]], numbers[parts[1]]

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        merges = self.plain["model"]["merges"]
        pairs = (tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in merges)
        return {(left, right): rank for rank, (left, right) in enumerate(pairs)}

    @cached_property
    def _byte_level(self) -> bool:
        """Whether a character of a piece stands for a byte."""
        parts = (self.plain["pre_tokenizer"], self.plain["decoder"])
        return any(step["type"] == "ByteLevel" for part in parts for step in steps(part))

    @property
    def _whole_words(self) -> bool:
        """Whether a word that is a piece is taken whole, merges or not."""
        return bool(self.plain["model"].get("ignore_merges"))


@lru_cache(maxsize=2)
def pieces_of(tokenizer: Tokenizer) -> Pieces:
    """`Pieces`, kept for who asks again."""
    return Pieces(tokenizer)


_NEVER = 1 << 62


def _byte_alphabet() -> dict[str, int]:
    """Character → byte, as GPT-2 writes bytes: those that are printed as themselves, the others from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


_BYTE_LEVEL = _byte_alphabet()
