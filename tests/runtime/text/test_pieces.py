"""What was said is never taken back: pieces hold whole characters, and joined they are the text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from compress.runtime.text.pieces import Text
from tests.runtime.text.toys import SPECIALS, tokenizer

BYTES = tokenizer()


def fallback() -> Tokenizer:
    """Words with ▁ for a space, and a token for each byte: the way of SentencePiece."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    vocabulary |= {word: 256 + number for number, word in enumerate(("▁the", "▁a", "cat", "▁", "é", "\n"))}
    made = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


FALLBACK = fallback()


def said(tokenizer: Tokenizer, tokens: Sequence[int], separator: str = "", stops: Sequence[str] = ()) -> Text:
    text = Text(tokenizer, separator, stops)
    pieces = []
    for token in tokens:
        pieces.append(text.add(token))
        if text.stopped:
            break
    pieces.append(text.close())
    assert "".join(pieces) == text.text
    return text


@given(st.text(max_size=12), st.sampled_from([BYTES, FALLBACK]))
def test_characters_come_whole(given_text: str, tokenizer: Tokenizer) -> None:
    first = len(SPECIALS)
    if tokenizer is BYTES:
        tokens = tokenizer.encode(given_text, add_special_tokens=False).ids
        assert min(tokens, default=first) >= first
    else:
        tokens = list(given_text.encode())
    text = Text(tokenizer)
    pieces = [*(text.add(token) for token in tokens), text.close()]
    assert not any("\ufffd" in piece for piece in pieces) or "\ufffd" in given_text
    whole = tokenizer.decode(tokens)
    assert "".join(pieces) == text.text == whole.strip()


@given(st.lists(st.integers(0, 260), max_size=40), st.sampled_from([BYTES, FALLBACK]))
def test_any_tokens_are_said_in_full(tokens: list[int], tokenizer: Tokenizer) -> None:
    assert said(tokenizer, tokens).text == tokenizer.decode(tokens).strip()


@given(st.text("ab \n", max_size=20), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=2))
def test_the_first_stop_text_cuts(whole: str, stops: list[str]) -> None:
    tokens = BYTES.encode(whole, add_special_tokens=False).ids
    text = said(BYTES, tokens, stops=stops)
    places = [whole.find(stop) for stop in stops if stop in whole]
    assert text.stopped == bool(places)
    if not places:
        assert text.text == whole.strip()
    else:  # text comes a token at a time: the stop text that is whole first is found first
        ends = min(whole.find(stop) + len(stop) for stop in stops if stop in whole)
        assert len(text.tokens) == ends
        heard = whole[:ends]
        assert text.text == heard[: min(heard.find(stop) for stop in stops if stop in heard)].strip()


@pytest.mark.parametrize(
    ("whole", "separator", "text"),
    [("\nUn", "\n", "Un"), (" Un", " ", "Un"), ("Un", " ", "Un"), ("\n\nUn", "\n", ""), ("= Un", "=> ", "= Un")],
)
def test_the_separator_is_no_stop(whole: str, separator: str, text: str) -> None:
    tokens = BYTES.encode(whole, add_special_tokens=False).ids
    assert said(BYTES, tokens, separator, ("\n",)).text == text


def test_text_that_may_become_a_stop_is_held_back() -> None:
    text = Text(BYTES, stops=("END",))
    pieces = [text.add(token) for token in BYTES.encode("aENb EN", add_special_tokens=False).ids]
    assert pieces == ["a", "", "", "ENb", "", "", ""]
    assert text.close() == " EN"
