"""Prompts: a text as the numbers that a CLIP text encoder takes, always as many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from compress.errors import ArtefactError, DataError
from compress.files import read_mapping

TOKENIZER, SETTINGS = "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"


class Prompts:
    """length  of every text in tokens, its first and its last among them.  pad  what fills those that are shorter."""

    def __init__(self, tokenizer: Tokenizer, pad: int, length: int) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self.pad, self.length = tokenizer, pad, length

    def __call__(self, text: str) -> NDArray[np.int32]:
        """int32 [1, length].  Raises DataError for a text that is too long."""
        numbers = self.tokenizer.encode(text).ids
        if len(numbers) > self.length:
            begun = text if len(text) <= 40 else f"{text[:40]}…"
            raise DataError(
                f"prompt '{begun}' takes {len(numbers)} tokens: the text encoder takes {self.length}: shorten it"
            )
        return np.array([numbers + [self.pad] * (self.length - len(numbers))], np.int32)


def open_prompts(directory: Path, length: int) -> Prompts:
    """Of a pipeline's directory.  Raises ArtefactError for a tokenizer that is damaged or has nothing to pad with."""
    path = directory / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # its own type is Exception itself
        raise ArtefactError(f"{path}: cannot be read: {error}") from error
    pad = read_mapping(directory / SETTINGS, ArtefactError).get("pad_token")
    name = pad.get("content") if isinstance(pad, dict) else pad
    number = tokenizer.token_to_id(name) if isinstance(name, str) else None
    if number is None:
        raise ArtefactError(f"{directory / SETTINGS}: pad_token is {name}: one of the tokenizer's tokens is wanted")
    return Prompts(tokenizer, number, length)
