"""What config.json and generation_config.json say that decides how a model writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compress.errors import ArtefactError


@dataclass(frozen=True)
class Settings:
    """Of one model.

    first           beginning-of-sequence token, in front of a decoder's prompt, if it has one.
    ends            end tokens; the first of them ends the labels of an encoder–decoder.
    decoder_start   what the decoder of an encoder–decoder begins with.
    forced_first    what its output then begins with, where the prompt names no language token.
    forced_last     the last token of an output that is cut.
    suppressed      tokens that are never written.
    context         tokens that fit into the model, or None where nothing limits them.
    early_stopping  of a beam search: end as soon as there are as many translations as beams.
    """

    first: int | None
    ends: tuple[int, ...]
    decoder_start: int | None
    forced_first: int | None
    forced_last: int | None
    suppressed: tuple[int, ...]
    context: int | None
    early_stopping: bool | Literal["never"]


def read_settings(directory: Path) -> Settings:
    """The settings of the model in `directory`; generation_config.json may be absent, config.json tells the rest.

    Raises ArtefactError for a file that is missing or damaged.
    """
    config = _read(directory / "config.json")
    own = directory / "generation_config.json"
    generation = _read(own) if own.is_file() else {}
    given = {**config, **{key: value for key, value in generation.items() if value is not None}}
    try:
        return _settings(given, config)
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{own}: damaged: {error}") from error


def _settings(given: dict[str, Any], config: dict[str, Any]) -> Settings:
    first = _token(given.get("bos_token_id"))
    ends = _tokens(given.get("eos_token_id"))
    start = _token(given.get("decoder_start_token_id"))
    banned = [words[0] for words in given.get("bad_words_ids") or () if len(words) == 1]
    context = config.get("max_position_embeddings")
    return Settings(
        first=first,
        ends=ends,
        decoder_start=first if start is None else start,
        forced_first=_token(given.get("forced_bos_token_id")),
        forced_last=_token(given.get("forced_eos_token_id")),
        # An end token among the banned words only keeps a model from ending: transformers ignores it too.
        suppressed=tuple(sorted({*banned, *_tokens(given.get("suppress_tokens"))} - set(ends))),
        context=None if context is None else int(context),
        early_stopping=given.get("early_stopping") or False,
    )


def _token(value: Any) -> int | None:
    tokens = _tokens(value)
    return tokens[0] if tokens else None


def _tokens(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(token) for token in value) if isinstance(value, list) else (int(value),)


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}: this is no translator") from error
    except ValueError as error:
        raise ArtefactError(f"{path}: damaged: {error}") from error
    if not isinstance(plain, dict):
        raise ArtefactError(f"{path}: damaged: not an object")
    return plain
