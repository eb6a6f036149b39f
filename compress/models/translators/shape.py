"""random:SHAPE: architectures that are translated with, from configs that ship, with fresh weights.

A model of random weights translates nothing: it is for size, speed, memory, and whether an artefact does what its torch
model does.  Each file of `shapes/` holds

config        of transformers.
tokens        special tokens by number.
languages     what its tokens of languages are called: 'nllb', 'm2m100', 'marian', 'madlad', or null for none.
begin, end    whether a text begins with the bos token, and ends with the eos token.
chat          the chat template of its family, or null.
std           of the weights; tiny shapes have larger ones, so that their outputs vary.
embedding_std of the embeddings, where it is another: of models that scale them up again.
description   one line for the model card.
"""

from __future__ import annotations

import json
from typing import Any

from compress.models.loaded import told
from compress.models.shapes import read_shape
from compress.models.source import SHAPES, ModelSource
from compress.models.translators.building import blank_model, family_of, quiet, random_model
from compress.models.translators.loaded import SETTINGS, LoadedTranslator
from compress.models.translators.prompts import default_prompt
from compress.models.translators.shape_tokenizer import made_tokenizer


def load(source: ModelSource) -> LoadedTranslator:
    """Raises ModelError for an unknown shape."""
    shape = shape_of(source)
    config = _config(shape)
    tokens = {number: token for token, number in shape["tokens"].items()}
    tokenizer = made_tokenizer(shape, config)
    specials = {
        f"{name}_token": tokens[number]
        for name in ("bos", "eos", "pad")
        if (number := shape["config"].get(f"{name}_token_id")) in tokens
    }
    with told(source.source), quiet():
        model = random_model(config, source.seed, shape["std"], source.source, shape.get("embedding_std"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **specials, "clean_up_tokenization_spaces": False}
    settings |= {"chat_template": shape["chat"]} if shape["chat"] else {}
    return LoadedTranslator(
        model,
        family_of(config, source.source),
        tokenizer,
        default_prompt(config, tokenizer, shape["chat"], specials),
        files={SETTINGS: (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()},
        description=f"{shape['description']}, random weights",
        random_weights=True,
    )


def blank(source: ModelSource) -> Any:
    """The model on the meta device."""
    with told(source.source), quiet():
        return blank_model(_config(shape_of(source)), source.source)


def shape_of(source: ModelSource) -> dict[str, Any]:
    """Raises ModelError for an unknown one."""
    return read_shape("translators", source.name, SHAPES)


def _config(shape: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    with quiet():
        return AutoConfig.for_model(**shape["config"])
