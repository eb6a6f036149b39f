"""Text as its tokens come: whole characters only, and nothing that a later token could take back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character, or not yet one


class Text:
    """One translation while it is being written.

    tokenizer  the `tokenizers.Tokenizer` of the output.
    separator  in front of the text: it is taken off.
    stops      texts that end it; the first that comes cuts it.
    tokens     of the text, as they came.
    stopped    a stop text was found.
    """

    def __init__(self, tokenizer: Any, separator: str = "", stops: Sequence[str] = ()) -> None:
        self.tokenizer, self.separator, self.stops = tokenizer, separator, tuple(stops)
        self.tokens: list[int] = []
        self.stopped = False
        self._given = ""

    def add(self, token: int, aloud: bool = True) -> str:
        """Append a token; what can be said now that could not before, perhaps nothing.

        aloud False: nothing is said, and without stop texts nothing is decoded.
        """
        self.tokens.append(token)
        if not self.stops and not aloud:
            return ""
        text = self._body()
        if self.stopped or not aloud or self._is_byte(token):
            return ""
        return self._new(self._settled(text))

    def close(self) -> str:
        """No more tokens come; what was not said yet."""
        return self._new(self._body().strip())

    @property
    def text(self) -> str:
        """All that was said."""
        return self._given

    def _is_byte(self, token: int) -> bool:
        """Whether the token is one byte: all bytes of a row of such tokens turn bad when one of them is."""
        name = self.tokenizer.id_to_token(token) or ""
        return len(name) == 6 and name.startswith("<0x") and name.endswith(">")

    def _body(self) -> str:
        """The text so far, from after the separator up to the stop text."""
        text: str = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
        text = text.removeprefix(self.separator)
        places = [place for place in (text.find(stop) for stop in self.stops) if place >= 0]
        self.stopped = bool(places)
        return text[: min(places)] if places else text

    def _settled(self, text: str) -> str:
        """The text without an end that may change: half a character, white space, the beginning of a stop text."""
        if len(text) < len(self.separator) and self.separator.startswith(text):
            return ""
        text = text.rstrip(_BROKEN)
        lengths = (length for stop in self.stops for length in range(1, len(stop)) if text.endswith(stop[:length]))
        return text[: len(text) - max(lengths, default=0)].strip()

    def _new(self, text: str) -> str:
        if not text.startswith(self._given):  # a decoder that changes its mind: wait until it comes back to its word
            return ""
        piece = text[len(self._given) :]
        self._given = text
        return piece
