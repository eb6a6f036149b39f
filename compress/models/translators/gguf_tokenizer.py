"""The tokenizer inside a GGUF file, as a tokenizer of the `tokenizers` library.

Two kinds are known: SentencePiece's byte-pair encoding ('llama', scores instead of merges), and byte-level byte-pair
encoding ('gpt2', merges and a rule of how text is cut into words first).
"""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from compress.errors import ModelError
from compress.models.loaded import told
from compress.models.translators.gguf_file import GgufFile
from compress.models.translators.merges import merges_of

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # of tokenizer.ggml.token_type
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_NUMBERS, _EAST_ASIAN = r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+"
_MARKED_WORDS = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
# tokenizer.ggml.pre → how text is cut before merging, one rule after the other; none: GPT-2's own rule.
CUTS: dict[str, tuple[str, ...]] = {
    "default": (),
    "gpt-2": (),
    "smollm": (),
    "llama-bpe": (_WORDS % r"\p{N}{1,3}",),
    "llama3": (_WORDS % r"\p{N}{1,3}",),
    "qwen2": (_WORDS % r"\p{N}",),
    "deepseek-v3": (_NUMBERS, _EAST_ASIAN, _MARKED_WORDS),
    "hunyuan-dense": (_NUMBERS, _EAST_ASIAN, _MARKED_WORDS),
}


def tokenizer_of(file: GgufFile) -> Tokenizer:
    """Raises ModelError for a file without a tokenizer, or one of a kind that is not known."""
    values = file.values
    tokens, kinds = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list) or not tokens:
        raise ModelError(f"{file.path} holds no tokenizer: convert the model again, with its tokenizer beside it")
    kinds = kinds or [NORMAL] * len(tokens)
    model = values.get("tokenizer.ggml.model")
    if model not in ("llama", "gpt2"):
        raise ModelError(
            f"{file.path}: its tokenizer is of kind '{model}', and 'llama' or 'gpt2' is wanted: use the model's "
            f"safetensors: hf:ORG/NAME or path:DIRECTORY"
        )
    with told(f"{file.path}: its tokenizer is damaged"):
        tokenizer = _sentencepiece(file, tokens, kinds) if model == "llama" else _byte_level(file, tokens)
    tokenizer.add_tokens(
        [
            # A run of spaces is found after spaces were written as ▁.
            AddedToken(token, special=kind != USER_DEFINED, normalized="▁" in token)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ]
    )
    tokenizer.post_processor = _post_processor(values, tokens, begins=model == "llama")
    return tokenizer


def special_tokens(file: GgufFile) -> dict[str, int]:
    """bos_token_id and so on, of those that the file names."""
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    found = {f"{ours}_token_id": file.values.get(f"tokenizer.ggml.{theirs}_token_id") for ours, theirs in names.items()}
    return {name: int(number) for name, number in found.items() if number is not None}


def _sentencepiece(file: GgufFile, tokens: list[str], kinds: list[int]) -> Tokenizer:
    scores = file.values.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise ModelError(f"{file.path}: its {len(tokens)} tokens have no scores: the file is not whole")
    ranked = {token: score for token, score, kind in zip(tokens, scores, kinds, strict=True) if kind == NORMAL}
    unknown = special_tokens(file).get("unk_token_id")
    tokenizer = Tokenizer(
        BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=merges_of(ranked),
            unk_token=tokens[unknown] if unknown is not None else None,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    prefix = bool(file.values.get("tokenizer.ggml.add_space_prefix", True))
    steps: list[Any] = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    last: list[Any] = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *last])
    return tokenizer


def _byte_level(file: GgufFile, tokens: list[str]) -> Tokenizer:
    merges, cut = file.values.get("tokenizer.ggml.merges"), str(file.values.get("tokenizer.ggml.pre", "default"))
    if not isinstance(merges, list):
        raise ModelError(f"{file.path}: its tokenizer has no merges: the file is not whole")
    if cut not in CUTS:
        raise ModelError(
            f"{file.path}: its tokenizer cuts words as '{cut}', which is not known here (known: {', '.join(CUTS)}): "
            f"use the model's safetensors: hf:ORG/NAME or path:DIRECTORY"
        )
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    tokenizer = Tokenizer(BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=pairs))
    if not CUTS[cut]:
        first: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if cut == "smollm" else []
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        first = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in CUTS[cut]]
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if cut == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, whole])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _post_processor(values: dict[str, Any], tokens: list[str], *, begins: bool) -> Any:
    """Begins with the first token, and ends with the last, as the file says."""
    pieces, named = ["$A"], []
    for key, name, default in (("add_bos_token", "bos", begins), ("add_eos_token", "eos", False)):
        number = values.get(f"tokenizer.ggml.{name}_token_id")
        if values.get(f"tokenizer.ggml.{key}", default) and number is not None:
            pieces = [tokens[number], *pieces] if name == "bos" else [*pieces, tokens[number]]
            named.append((tokens[number], number))
    if not named:
        return processors.ByteLevel(trim_offsets=False) if not begins else None
    return processors.TemplateProcessing(single=pieces, special_tokens=named)
