"""The vocabulary of a language model as data: which tokens of its first one it still has.

A pass decides which rows of the embedding and the head stay (`keep_tokens`); the numbers that they had lie on the model
as a buffer, so that they are saved with it, and whoever makes tokens for it renumbers them (`kept_tokens`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.layers import sharing
from compress.models.low_rank import LowRank
from compress.models.masks import mask_of
from compress.models.quantized import stored

KEPT = "kept_tokens"
_NAMED = ("_token_id", "_token_ids")  # ends of the names under which configs name tokens
_LISTED = ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens")  # tokens that are not written


def kept_tokens(model: nn.Module) -> Tensor | None:
    """The numbers that the model's tokens had in its first vocabulary, rising: int64 [tokens]; None for all of it."""
    found = getattr(model, KEPT, None)
    return found if isinstance(found, Tensor) else None


def vocabulary_size(model: Any) -> int:
    """How many tokens the model has: rows of its embedding."""
    return int(model.get_input_embeddings().weight.shape[0])


def first_vocabulary_size(model: nn.Module) -> int:
    """How many tokens the model had before any was dropped."""
    size = getattr(model, "first_vocabulary_size", None)
    return size if isinstance(size, int) else vocabulary_size(model)


def keep_tokens(model: Any, kept: Tensor) -> None:
    """Drop all tokens but `kept` (numbers, rising, int64) from a model of transformers, in place.

    Rows of the embedding, the head and what is tied to them, a bias of the logits, sizes and token numbers in the
    configs.  Raises ModelError as `check_tokens_can_go`, and if a config names a token that is not kept.
    """
    check_tokens_can_go(model)
    tables, rows = _tables(model), vocabulary_size(model)
    if not len(kept) or bool((kept[1:] <= kept[:-1]).any()) or int(kept[0]) < 0 or int(kept[-1]) >= rows:
        raise ModelError(f"tokens to keep must be rising numbers below {rows}")
    places = {old: new for new, old in enumerate(kept.tolist())}
    missing = sorted(number for number in named_tokens(model) if number not in places)
    if missing:
        raise ModelError(f"the model's config names the token {missing[0]}, which is not kept")
    for module in model.modules():
        if _counts_from_padding(module) and places.get(module.padding_idx) != module.padding_idx:
            raise ModelError(
                "the model counts positions from the number of its padding token: keep all tokens below it"
            )
    size = first_vocabulary_size(model)
    before = kept_tokens(model)
    _cut(model, tables, kept, places)
    _renumber(model, rows, places)
    model.first_vocabulary_size = size
    model.register_buffer(KEPT, kept.clone() if before is None else before[kept])


def check_tokens_can_go(model: Any) -> None:
    """Raise ModelError for a model whose tokens cannot be dropped: quantized, pruned, or with two vocabularies."""
    if not hasattr(model, "get_input_embeddings") or not hasattr(model, "config"):
        raise ModelError("tokens are dropped from language models of transformers, and this is none")
    if isinstance(model.get_output_embeddings(), LowRank):
        raise ModelError("the head is of low rank: drop tokens before factorizing")
    tables, rows = _tables(model), vocabulary_size(model)
    names = {id(module): name for name, module in model.named_modules()}
    for module in tables:
        if stored(module) is not None:
            raise ModelError(f"the weight of {names[id(module)]} is quantized: drop tokens before quantizing")
        if mask_of(module) is not None:
            raise ModelError(f"the weight of {names[id(module)]} is pruned: drop tokens before pruning")
        if module.weight.shape[0] != rows:
            raise ModelError(
                f"{names[id(module)]} has {module.weight.shape[0]} rows, the embedding {rows}: "
                f"a model with a vocabulary for each side is not trimmed here"
            )
    separate = getattr(model.config, "share_encoder_decoder_embeddings", True) is False
    others = list(_other_tables(model, tables))
    if separate or others:
        told = f" ({', '.join(others)})" if others else ""
        raise ModelError(f"the model has a vocabulary for each side{told}: such a model is not trimmed here")


def named_tokens(model: Any) -> set[int]:
    """The tokens that the configs name: first, end, padding, start of the decoder, …"""
    rows = vocabulary_size(model)
    values = [value for config in _configs(model) for key, value in _entries(config) if key.endswith(_NAMED)]
    numbers = (number for value in values for number in (value if isinstance(value, list) else [value]))
    return {number for number in numbers if isinstance(number, int) and 0 <= number < rows}


def _tables(model: Any) -> list[Any]:
    """The modules that have a row a token: the embedding and the head, and what is tied to either."""
    found: dict[int, Any] = {}
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        if table is not None:
            found |= {id(module): module for module in sharing(model, table)}
    return list(found.values())


def _other_tables(model: Any, tables: list[Any]) -> Iterator[str]:
    """Names of the embeddings of tokens that are tied to none of `tables`: those that a stack reads its input by."""
    own = {id(module) for module in tables}
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith(("embed_tokens", "shared")) and id(module) not in own:
            yield name


def _cut(model: Any, tables: list[Any], kept: Tensor, places: dict[int, int]) -> None:
    cut: dict[int, nn.Parameter] = {}
    for module in tables:
        for name in ("weight", "bias"):
            parameter = getattr(module, name, None)
            if isinstance(parameter, nn.Parameter):
                if id(parameter) not in cut:
                    rows = parameter.detach()[kept].clone()
                    cut[id(parameter)] = nn.Parameter(rows, requires_grad=parameter.requires_grad)
                setattr(module, name, cut[id(parameter)])
        if isinstance(module, nn.Embedding):
            module.num_embeddings = len(kept)
            module.padding_idx = None if module.padding_idx is None else places.get(module.padding_idx)
        else:
            module.out_features = len(kept)
    bias = getattr(model, "final_logits_bias", None)
    if isinstance(bias, Tensor):
        model.final_logits_bias = bias[..., kept].clone()


def _renumber(model: Any, rows: int, places: dict[int, int]) -> None:
    """Sizes and numbers of tokens, wherever the model or its configs have them."""
    for config in _configs(model):
        for key, value in _entries(config):
            if key in ("vocab_size", "decoder_vocab_size") and value == rows:
                setattr(config, key, len(places))
            elif key.endswith(_NAMED) or key in _LISTED:
                setattr(config, key, _renumbered(value, rows, places))
    for module in model.modules():
        if getattr(module, "vocab_size", None) == rows:
            module.vocab_size = len(places)
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and not isinstance(module, nn.Embedding):
            module.padding_idx = places.get(padding, padding)


def _renumbered(value: Any, rows: int, places: dict[int, int]) -> Any:
    """Numbers, also in lists; None for what is gone.  A token that is gone leaves its list, a word that has one too."""
    if isinstance(value, list | tuple):
        found = [_renumbered(each, rows, places) for each in value]
        whole = [
            new
            for new, old in zip(found, value, strict=True)
            if not isinstance(old, list) or len(new or ()) == len(old)
        ]
        return [each for each in whole if each is not None] or None
    if isinstance(value, int) and 0 <= value < rows:
        return places.get(value)
    return value


def _configs(model: Any) -> list[Any]:
    """Each config once: the model's, those of its parts, and of generation."""
    found = [getattr(module, "config", None) for module in model.modules()]
    found.append(getattr(model, "generation_config", None))
    return list({id(config): config for config in found if config is not None}.values())


def _entries(config: Any) -> list[tuple[str, Any]]:
    return [(key, getattr(config, key, None)) for key in config.to_dict()]


def _counts_from_padding(module: nn.Module) -> bool:
    """M2M100's positions: they begin after the number of the padding token."""
    return hasattr(module, "create_position_ids_from_input_ids") and isinstance(
        getattr(module, "padding_idx", None), int
    )
