"""A pipeline's CLIP tokenizer: read from its directory, or made for a shape without one; and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from compress.errors import ModelError
from compress.models.loaded import told

FIRST, LAST = "<|startoftext|>", "<|endoftext|>"
_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


def read_tokenizer(directory: Path, vocab_size: int) -> Any:
    """The transformers.CLIPTokenizer of a directory.

    vocab_size  of the text encoder: no token may lie beyond it.

    Raises ModelError for one that is missing or damaged, or belongs to another text encoder.
    """
    from transformers import CLIPTokenizer

    if not any(all((directory / name).is_file() for name in names) for names in _FILES):
        wanted = " nor ".join(" and ".join(names) for names in _FILES)
        raise ModelError(f"{directory}: no tokenizer: it holds neither {wanted}")
    with told(str(directory)):
        tokenizer = CLIPTokenizer.from_pretrained(directory, local_files_only=True)
    largest = max(tokenizer.get_vocab().values())
    if largest >= vocab_size:
        raise ModelError(
            f"{directory}: has a token {largest}, and the text encoder knows {vocab_size}: it belongs to another one"
        )
    return tokenizer


def made_tokenizer(text_config: Any) -> Any:
    """For a shape: every byte a token, inside a word and at its end, and the two special ones where the config has
    them.  It is exact on any text, and takes more tokens than a tokenizer that was learned."""
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    vocabulary |= {FIRST: text_config.bos_token_id, LAST: text_config.eos_token_id}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=text_config.max_position_embeddings)


def write_tokenizer(tokenizer: Any, directory: Path) -> None:
    """tokenizer.json, which needs no transformers, and tokenizer_config.json beside it."""
    tokenizer.save_pretrained(directory)
