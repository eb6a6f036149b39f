"""A tokenizer as the keys of a GGUF header: the inverse of `compress.models.translators.gguf_tokenizer`.

Two kinds can be said: SentencePiece's byte-pair encoding with bytes to fall back on ('llama': each piece's score says
how early it is merged), and byte-level byte-pair encoding ('gpt2': merges, and the name of a rule of how text is cut
into words).  What was made is read back, and must cut texts as the tokenizer does.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError, ParityError
from compress.exporter.gguf.file import Value
from compress.models.translators.gguf_file import GgufFile
from compress.models.translators.gguf_tokenizer import (
    BYTE,
    CONTROL,
    CUTS,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    tokenizer_of,
)
from compress.models.translators.loaded import SETTINGS, TEMPLATE
from compress.models.translators.pieces import steps

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from compress.models.translators import LoadedTranslator

# What the tokenizer that was read back must cut in the same way.
TEXTS = (
    "Good morning. The train to the city leaves at half past nine from platform four.",
    "Où est la gare, s'il vous plaît ? Ça coûte 1234,50 € — I'll pay, WE'VE got 20000000.",
    "Die Straße führt übers Gebirge; ¿dónde está el baño? Dziękuję, část, ağaç, đường.",
    "你好，世界！火车站在哪里？ 東京は2026年 12月、こんにちは。 안녕하세요 สวัสดี नमस्ते",
    "Доброе утро. Καλημέρα. صباح الخير. בוקר טוב. 👋🏽🚆 x² ≤ ½",
    "  two  spaces\n\n\tand (tabs)\r\n   foo_bar(x) != {'y': [1]}  ",
    "a",
    "",
)
_NO_SCORE = -1000.0  # of tokens that no merge makes


def tokenizer_values(loaded: LoadedTranslator, rows: int, architecture: str) -> dict[str, Value]:
    """All keys below 'tokenizer.'.

    rows  of the embedding: as many tokens must be named, and those without a name are called [PAD7].

    Raises ModelError for a tokenizer that these keys cannot describe, ParityError if they describe another.
    """
    tokenizer = loaded.tokenizer
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    kind = _kind(state)
    tokens, kinds = _tokens(tokenizer, rows, model, sentencepiece=kind == "llama")
    merges = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    values: dict[str, Value] = {"model": kind}
    if kind == "llama":
        values |= {"pre": "default", "tokens": tokens, "scores": _scores(tokens, kinds, merges), "token_type": kinds}
        bare = tokenizer.encode("a", add_special_tokens=False).tokens
        values["add_space_prefix"] = bool(bare) and bare[0].startswith("▁")
    else:
        pre = _cut(state, architecture) if merges else "gpt-2"  # without merges there is nothing that a cut prevents
        values |= {"pre": pre, "tokens": tokens, "token_type": kinds, "merges": [" ".join(pair) for pair in merges]}
    values |= _special(loaded, model.get("unk_token"))
    named = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    template = _chat_template(loaded.files)
    if template:
        named["tokenizer.chat_template"] = template
    _check(tokenizer, named)
    return named


def _kind(state: dict[str, Any]) -> str:
    """'llama' or 'gpt2'."""
    model = state["model"]
    if model["type"] == "BPE" and model.get("byte_fallback"):
        return "llama"
    if model["type"] == "BPE" and any(step["type"] == "ByteLevel" for step in steps(state["decoder"])):
        return "gpt2"
    told = f"its tokenizer ({model['type']}) is neither byte-level byte-pair encoding nor SentencePiece's"
    raise ModelError(f"{told}: GGUF's 'gpt2' and 'llama' are all that is written here")


def _tokens(
    tokenizer: Tokenizer, rows: int, model: dict[str, Any], *, sentencepiece: bool
) -> tuple[list[str], list[int]]:
    """The name and the kind of each row of the embedding."""
    tokens, kinds = [f"[PAD{number}]" for number in range(rows)], [UNUSED] * rows
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        tokens[number] = token
        is_byte = sentencepiece and re.fullmatch(r"<0x[0-9A-F]{2}>", token)
        kinds[number] = BYTE if is_byte else NORMAL
    for number, added in tokenizer.get_added_tokens_decoder().items():
        kinds[number] = CONTROL if added.special else USER_DEFINED
        if not added.special:  # llama.cpp looks for them in the text as it was typed
            tokens[number] = added.content.replace("▁", " ")
    unknown = tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") is not None else None
    if sentencepiece and unknown is not None:
        kinds[unknown] = UNKNOWN
    return tokens, kinds


def _scores(tokens: list[str], kinds: list[int], merges: list[tuple[str, ...]]) -> list[float]:
    """Of each token: minus the place of the first merge that makes it, among the pieces that merges make."""
    places: dict[str, int] = {}
    for pair in merges:
        places.setdefault("".join(pair), len(places))
    single = len(places)  # letters, which nothing has to make
    return [
        float(-places.get(token, single + number)) if kind == NORMAL else 0.0 if kind == BYTE else _NO_SCORE
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
    ]


def _cut(state: dict[str, Any], architecture: str) -> str:
    """llama.cpp's name of how text is cut into words before merging.  Raises ModelError for a rule that it lacks."""
    normalizers = [step["type"] for step in steps(state["normalizer"])]
    cuts = steps(state["pre_tokenizer"])
    last = cuts[-1] if cuts else {}
    splits = tuple(step["pattern"].get("Regex", "") for step in cuts if step["type"] == "Split")
    kinds = [step["type"] for step in cuts]
    plain = set(normalizers) <= {"NFC"} and last.get("type") == "ByteLevel" and not last.get("add_prefix_space")
    if plain and last["use_regex"] and kinds == ["ByteLevel"]:
        return "gpt-2"
    if plain and last["use_regex"] and kinds == ["Digits", "ByteLevel"] and cuts[0]["individual_digits"]:
        return "smollm"
    isolated = all(step["behavior"] == "Isolated" and not step["invert"] for step in cuts if step["type"] == "Split")
    if plain and isolated and splits and not last["use_regex"] and kinds == [*["Split"] * len(splits), "ByteLevel"]:
        names = [name for name, patterns in CUTS.items() if patterns == splits]
        if names:
            return architecture if architecture in names else names[0]
    known = ", ".join(CUTS)
    raise ModelError(f"its tokenizer cuts text into words by a rule that has no name in GGUF here (known: {known})")


def _special(loaded: LoadedTranslator, unknown: str | None) -> dict[str, Value]:
    """Numbers of the special tokens, and which of them surround a text."""
    tokenizer, config = loaded.tokenizer, loaded.model.config
    bare, whole = tokenizer.encode("a", add_special_tokens=False).ids, tokenizer.encode("a").ids
    at = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), None)
    before, after = (whole[:at], whole[at + len(bare) :]) if at is not None else (whole, whole)
    if len(before) > 1 or len(after) > 1:
        raise ModelError("its tokenizer puts more than one token around a text, which GGUF cannot say")
    ends = _numbers(config.eos_token_id)
    first = before or _numbers(config.bos_token_id)
    last = after or ends
    found = {
        "bos": first[0] if first else None,
        "eos": last[0] if last else None,
        "eot": next((number for number in ends if number not in last[:1]), None),
        "unknown": None if unknown is None else tokenizer.token_to_id(unknown),
        "padding": next(iter(_numbers(config.pad_token_id)), None),
    }
    values: dict[str, Value] = {f"{name}_token_id": int(number) for name, number in found.items() if number is not None}
    return values | {"add_bos_token": bool(before), "add_eos_token": bool(after)}


def _numbers(value: int | list[int] | None) -> list[int]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _chat_template(files: dict[str, bytes]) -> str | None:
    """The model's own, if it has one."""
    if TEMPLATE in files:
        return files[TEMPLATE].decode()
    found = json.loads(files.get(SETTINGS, b"{}")).get("chat_template")
    if isinstance(found, list):  # several by name
        found = next((each["template"] for each in found if each["name"] == "default"), None)
    return str(found) if found else None


def _check(tokenizer: Tokenizer, values: dict[str, Value]) -> None:
    """Raises ParityError unless the keys describe a tokenizer that cuts TEXTS as this one does."""
    read = tokenizer_of(GgufFile(Path("the header to be written"), dict(values), {}))
    for text in TEXTS:
        ours, theirs = tokenizer.encode(text).ids, read.encode(text).ids
        if ours != theirs:
            told = f"it makes {ours[:12]} of {text!r}, and what GGUF says {theirs[:12]}"
            raise ParityError(f"the tokenizer cannot be said in GGUF: {told}")
