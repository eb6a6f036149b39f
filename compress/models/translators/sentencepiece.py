"""SentencePiece model files as data, read from their protocol buffer without a library.

The messages are those of https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compress.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NORMAL, _USER_DEFINED = 1, 4
_KINDS: dict[int, Literal["unigram", "bpe"]] = {1: "unigram", 2: "bpe"}


@dataclass(frozen=True)
class SentencePieceModel:
    """scores: of each piece that text is cut into, in the file's order.

    user_defined   pieces that are found before all others.
    normalization  what its rules are called: 'nmt_nfkc', 'identity', …
    charsmap       the rules, compiled; empty for none.
    add_prefix     whether a text begins as a word does.
    strip_spaces   whether spaces at both ends, and double ones, are dropped.
    """

    kind: Literal["unigram", "bpe"]
    scores: dict[str, float]
    user_defined: tuple[str, ...]
    normalization: str
    charsmap: bytes
    add_prefix: bool
    strip_spaces: bool


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Raises ModelError for a file that is missing, damaged, or of a kind that is not known."""
    try:
        message = list(_fields(path.read_bytes()))
        pieces = [_piece(value) for number, value in message if number == 1 and isinstance(value, bytes)]
        trainer = dict(_fields(_one(message, 2)))
        rules = dict(_fields(_one(message, 3)))
        name, charsmap = rules.get(1, b""), rules.get(2, b"")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, IndexError, struct.error) as error:
        raise ModelError(f"{path}: damaged or no SentencePiece model: {error}") from error
    kind = trainer.get(3, 1)
    if kind not in _KINDS or not pieces or not isinstance(charsmap, bytes) or not isinstance(name, bytes):
        raise ModelError(f"{path}: a SentencePiece model of unigrams or byte pairs is wanted")
    return SentencePieceModel(
        _KINDS[int(kind)],
        {piece: score for piece, score, role in pieces if role == _NORMAL},
        tuple(piece for piece, _, role in pieces if role == _USER_DEFINED),
        name.decode(errors="replace"),
        charsmap,
        bool(rules.get(3, 1)),
        bool(rules.get(4, 1)),
    )


def _piece(message: bytes) -> tuple[str, float, int]:
    """(text, score, role) of one piece."""
    values = dict(_fields(message))
    text, score, role = values.get(1, b""), values.get(2, 0.0), values.get(3, _NORMAL)
    if not isinstance(text, bytes) or isinstance(score, bytes) or isinstance(role, bytes):
        raise ValueError("a piece is not as it should be")
    return text.decode(), float(score), int(role)


def _one(message: list[tuple[int, int | float | bytes]], number: int) -> bytes:
    """The last message of this number; an empty one if there is none."""
    found = [value for key, value in message if key == number and isinstance(value, bytes)]
    return found[-1] if found else b""


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(number, value) of each field of a message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif wire == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("it ends too early")
            yield number, message[at : at + length]
            at += length
        elif wire in (_FIXED32, _FIXED64):
            width, form = (4, "<f") if wire == _FIXED32 else (8, "<d")
            yield number, float(struct.unpack(form, message[at : at + width])[0])
            at += width
        else:
            raise ValueError(f"a field of the unknown wire type {wire}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
