"""LoadedTranslator: a translation model with all that belongs to it, and the checks that every one passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from compress.data.prompts import Prompt
from compress.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


# Beside tokenizer.json, whatever the tokenizer: `LoadedTranslator.files` may hold them.
SETTINGS, ADDED, TEMPLATE = "tokenizer_config.json", "added_tokens.json", "chat_template.jinja"
SETTINGS_FILES = (SETTINGS, "special_tokens_map.json", ADDED, TEMPLATE)


@dataclass(frozen=True)
class LoadedTranslator:
    """model: of transformers, in eval mode, float32, tied weights tied; its `generation_config` names special tokens.

    family            'decoder' (the prompt goes in, the translation follows) or 'encoder-decoder'.
    tokenizer         of the input.  What it adds around a text: a decoder's first token, an encoder's end token;
                      never the token of a language, which is the prompt's to say.
    target_tokenizer  of the output, where it is another (Marian has a SentencePiece model for each side); None: the
                      same.
    prompt            how the model is asked by default.
    files             further files of the tokenizer, by name, for those who open the artefact with transformers.
    description       one line for the model card.
    licence           of the weights, as an SPDX name in small letters or an address; None: not known.
    random_weights    whether the weights are fresh ones: figures of quality mean nothing then.
    kept              which tokens of the model's first vocabulary the tokenizers have; None: all.
    """

    model: Any
    family: Literal["decoder", "encoder-decoder"]
    tokenizer: Tokenizer
    prompt: Prompt
    target_tokenizer: Tokenizer | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    description: str = ""
    licence: str | None = None
    random_weights: bool = False
    kept: tuple[int, ...] | None = field(default=None, repr=False)


def check_fits(loaded: LoadedTranslator, where: str) -> None:
    """Raise ModelError if a tokenizer makes tokens that the model has no row for."""
    source, target = loaded.model.get_input_embeddings(), loaded.model.get_output_embeddings()
    for tokenizer, rows in (
        (loaded.tokenizer, source.weight.shape[0]),
        (loaded.target_tokenizer or loaded.tokenizer, target.weight.shape[0]),
    ):
        largest, token = max((number, token) for token, number in tokenizer.get_vocab().items())
        if largest >= rows:
            raise ModelError(
                f"{where}: its tokenizer does not fit: token {largest} ('{token}') is none of the {rows} rows of the "
                f"model's embedding: use the tokenizer that the model was trained with"
            )
