"""A translator whose model has dropped tokens: its tokenizers, numbered as the model numbers what it kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

from compress.data.prompts import Prompt
from compress.errors import ModelError
from compress.models.loaded import told
from compress.models.translators.loaded import ADDED, SETTINGS, SETTINGS_FILES, LoadedTranslator
from compress.models.translators.pieces import Pieces, pieces_of, steps
from compress.models.vocabulary import kept_tokens


def trimmed(loaded: LoadedTranslator) -> LoadedTranslator:
    """The translator with tokenizers of the tokens that its model kept; itself, where these are its tokenizers'.

    Languages whose own tokens are gone leave its prompt.  Raises ModelError for a tokenizer that cannot be trimmed.
    """
    found = kept_tokens(loaded.model)
    kept = None if found is None else tuple(found.tolist())
    if kept is None or kept == loaded.kept:
        return loaded
    if loaded.kept is not None:
        raise ModelError("the translator's tokenizer was trimmed for another model: give it with its first tokenizer")
    target = loaded.target_tokenizer
    tokenizer = trimmed_tokenizer(loaded.tokenizer, kept)
    return replace(
        loaded,
        tokenizer=tokenizer,
        target_tokenizer=None if target is None else trimmed_tokenizer(target, kept),
        prompt=_prompt(loaded.prompt, loaded.tokenizer, tokenizer),
        files=_files(loaded.files, tokenizer, kept),
        kept=kept,
    )


@lru_cache(maxsize=4)
def trimmed_tokenizer(tokenizer: Tokenizer, kept: tuple[int, ...]) -> Tokenizer:
    """The tokenizer of the pieces `kept`, numbered by their place among them.

    Of byte-pair encoding, each piece keeps the one merge that makes it.  Raises ModelError for a tokenizer that cannot
    be trimmed, or that has no piece of one of the numbers.
    """
    pieces = pieces_of(tokenizer)
    places = {old: new for new, old in enumerate(kept)}
    nameless = [old for old in kept if old not in pieces.names]
    if nameless:
        raise ModelError(f"the tokenizer has no token {nameless[0]}, which is to be kept")
    plain = {
        **pieces.plain,
        "model": _model(pieces, places),
        "added_tokens": [
            {**token, "id": places[token["id"]]} for token in pieces.plain["added_tokens"] if token["id"] in places
        ],
        "post_processor": _post_processor(pieces.plain["post_processor"], places),
        "padding": None,
        "truncation": None,
    }
    with told("the trimmed tokenizer"):
        made = Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
    moved = [old for new, old in enumerate(kept) if made.id_to_token(new) != pieces.names[old]]
    if moved or len(made.get_vocab()) != len(kept):
        raise ModelError("the tokenizer numbers its added tokens in a way that does not survive trimming")
    return made


@dataclass(frozen=True)
class Alike:
    """How much of some texts two tokenizers cut alike: texts, and pieces of the first one's, of so many."""

    texts: int
    num_texts: int
    pieces: int
    num_pieces: int


def alike(before: Tokenizer, after: Tokenizer, kept: Sequence[int], texts: Sequence[str]) -> Alike:
    """What of the texts `after`, which is `before` with the tokens `kept`, cuts as `before` does."""
    same = num_pieces = same_texts = 0
    firsts = before.encode_batch(texts, add_special_tokens=False)
    for first, second in zip(firsts, after.encode_batch(texts, add_special_tokens=False), strict=True):
        old = Counter(zip(first.offsets, first.ids, strict=True))
        new = Counter(zip(second.offsets, (kept[number] for number in second.ids), strict=True))
        same += (old & new).total()
        num_pieces += len(first.ids)
        same_texts += first.ids == [kept[number] for number in second.ids]
    return Alike(same_texts, len(texts), same, num_pieces)


def _model(pieces: Pieces, places: dict[int, int]) -> dict[str, Any]:
    model = pieces.plain["model"]
    if pieces.kind == "Unigram":
        listed = [entry for number, entry in enumerate(model["vocab"]) if number in places]
        unknown = model["unk_id"]
        return {**model, "vocab": listed, "unk_id": None if unknown is None else places.get(unknown)}
    numbers = {piece: places[number] for piece, number in pieces.numbers.items() if number in places}
    trimmed = {**model, "vocab": numbers}
    if pieces.kind == "BPE":
        halves = (pieces.split(number) for number in places)
        used = {
            (pieces.names[both[0]], pieces.names[both[1]])
            for both in halves
            if both and both[0] in places and both[1] in places
        }
        trimmed["merges"] = [list(pair) for pair in pieces.merges() if pair in used]
    return trimmed


def _post_processor(given: Any, places: dict[int, int]) -> Any:
    """What is put around a text, in new numbers."""
    if given is None:
        return None
    kind = given["type"]
    if kind == "Sequence":
        return {**given, "processors": [_post_processor(each, places) for each in given["processors"]]}
    if kind == "TemplateProcessing":
        tokens = {
            name: {**token, "ids": [places[number] for number in token["ids"]]}
            for name, token in given["special_tokens"].items()
            if all(number in places for number in token["ids"])
        }
        written = {item["SpecialToken"]["id"] for item in given["single"] if "SpecialToken" in item}
        if not written <= tokens.keys():
            raise ModelError(f"the tokenizer puts {', '.join(sorted(written - tokens.keys()))} around texts: keep it")
        pair = [item for item in given["pair"] if item.get("SpecialToken", {}).get("id") in {None, *tokens}]
        return {**given, "special_tokens": tokens, "pair": pair}
    if kind in ("BertProcessing", "RobertaProcessing"):
        ends = {end: [given[end][0], places[given[end][1]]] for end in ("sep", "cls")}
        return {**given, **ends}
    return given


def around(plain: dict[str, Any]) -> set[int]:
    """The tokens that a tokenizer, as plain data, puts around a text."""
    found: set[int] = set()
    for one in steps(plain["post_processor"]):
        if one["type"] == "TemplateProcessing":
            found |= {number for token in one["special_tokens"].values() for number in token["ids"]}
        if one["type"] in ("BertProcessing", "RobertaProcessing"):
            found |= {one[end][1] for end in ("sep", "cls")}
    return found


def language_tokens(prompt: Prompt, code: str) -> tuple[str, ...]:
    """The tokens by which a prompt names a language, where it does so by tokens."""
    own = (*prompt.source_tokens.get(code, ()), *prompt.target_tokens.get(code, ()))
    return (*own, f"<2{prompt.languages[code]}>") if "<2{target_language}>" in prompt.template else own


def _prompt(prompt: Prompt, before: Tokenizer, after: Tokenizer) -> Prompt:
    def lost(code: str) -> bool:
        tokens = language_tokens(prompt, code)
        return any(before.token_to_id(token) is not None and after.token_to_id(token) is None for token in tokens)

    gone = {code for code in prompt.languages if lost(code)}

    def left(by_code: Any) -> dict[str, Any]:
        return {code: value for code, value in by_code.items() if code not in gone}

    return replace(
        prompt,
        languages=left(prompt.languages),
        source_tokens=left(prompt.source_tokens),
        target_tokens=left(prompt.target_tokens),
    )


def _files(files: dict[str, bytes], tokenizer: Tokenizer, kept: tuple[int, ...]) -> dict[str, bytes]:
    """The files beside tokenizer.json that still hold: tables of the first vocabulary do not, and its settings name
    the class that reads tokenizer.json as it is."""
    found = {name: content for name, content in files.items() if name in SETTINGS_FILES}
    if ADDED in found:
        tokens = {token: number for token, number in tokenizer.get_vocab().items() if token in json.loads(found[ADDED])}
        found[ADDED] = _written(tokens)
    if SETTINGS in found:
        settings = json.loads(found[SETTINGS])
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        if "added_tokens_decoder" in settings:
            places = {str(old): str(new) for new, old in enumerate(kept)}
            given = settings["added_tokens_decoder"]
            settings["added_tokens_decoder"] = {places[old]: given[old] for old in given if old in places}
        for name in ("additional_special_tokens", "extra_special_tokens"):
            if isinstance(settings.get(name), list):
                settings[name] = [token for token in settings[name] if tokenizer.token_to_id(str(token)) is not None]
        found[SETTINGS] = _written(settings)
    return found


def _written(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
