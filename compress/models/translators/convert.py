"""Tokenizers of Marian and M2M100, whose files are SentencePiece models beside a table of numbers.

A SentencePiece model cuts the text, and `vocab.json` numbers the pieces: its numbers are others, it may lack pieces of
the model, and it may have pieces that only the other language's model makes.  What comes out here is one tokenizer of
the `tokenizers` library with the numbers of `vocab.json`.  It differs from the two in what is rare: a piece of the
model that `vocab.json` lacks, which would be the unknown token, is cut into smaller pieces; and of a run of characters
that only the other language's model knows each is kept, where the run would be one unknown token; and marks on one
letter come in Unicode's canonical order, where SentencePiece leaves them as they were typed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from compress.errors import ModelError
from compress.models.translators.merges import merges_of
from compress.models.translators.sentencepiece import SentencePieceModel, read_sentencepiece

# Before a piece that this side's model never makes: no text contains this noncharacter, so it is only ever written out.
FOREIGN = "\uffff"
UNKNOWN_PENALTY = 10.0  # SentencePiece's


def marian_tokenizers(folder: Path, separate: bool) -> tuple[Tokenizer, Tokenizer | None]:
    """(of the source, of the target or None where that is the same) from source.spm, target.spm and vocab.json.

    separate  whether the target has a vocabulary of its own, target_vocab.json.

    Raises ModelError for a file that is missing or damaged.
    """
    source, target = folder / "source.spm", folder / "target.spm"
    vocabulary = _numbers(folder / "vocab.json")
    others = _numbers(folder / "target_vocab.json") if separate else vocabulary
    tokenizer = _made(read_sentencepiece(source), vocabulary, [], folder)
    if not separate and _same(source, target):
        return tokenizer, None
    return tokenizer, _made(read_sentencepiece(target), others, [], folder)


def m2m100_tokenizer(folder: Path, languages: list[str]) -> Tokenizer:
    """From sentencepiece.bpe.model and vocab.json; the languages' tokens are numbered on from there.

    Raises ModelError for a file that is missing or damaged.
    """
    pieces = read_sentencepiece(folder / "sentencepiece.bpe.model")
    return _made(pieces, _numbers(folder / "vocab.json"), [f"__{code}__" for code in languages], folder)


def _made(pieces: SentencePieceModel, numbers: dict[str, int], more: list[str], folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(_model(pieces, numbers))
    tokenizer.normalizer = _normalizer(pieces)
    scheme = "always" if pieces.add_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(FOREIGN, ""), decoders.Metaspace(prepend_scheme=scheme, split=False)]
    )
    special = [token for token in numbers if _is_special(token)]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in (*special, *more)])
    found = [piece for piece in pieces.user_defined if piece in numbers]
    tokenizer.add_tokens([AddedToken(piece, special=False, normalized=True) for piece in found])
    if "</s>" not in numbers or "<unk>" not in numbers:
        raise ModelError(f"{folder}: its vocab.json has no '</s>' or no '<unk>': it is not of Marian or M2M100")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], special_tokens=[("</s>", numbers["</s>"])]
    )
    return tokenizer


def _model(pieces: SentencePieceModel, numbers: dict[str, int]) -> Any:
    known = {piece: score for piece, score in pieces.scores.items() if piece in numbers}
    if pieces.kind == "bpe":
        return BPE(vocab=dict(numbers), merges=merges_of(known), unk_token="<unk>", fuse_unk=True)
    # What no piece covers is cut into characters, each at this price, and those are looked up in the table as well.
    unknown = min(known.values(), default=0.0) - UNKNOWN_PENALTY

    def entry(piece: str) -> tuple[str, float]:
        if piece in known:
            return piece, known[piece]
        if _is_special(piece):
            return piece, 0.0
        return (piece, unknown) if len(piece) == 1 else (FOREIGN + piece, 0.0)

    entries = [entry(piece) for piece in sorted(numbers, key=lambda piece: numbers[piece])]
    return Unigram(entries, unk_id=numbers.get("<unk>"), byte_fallback=False)


def _normalizer(pieces: SentencePieceModel) -> Any:
    steps: list[Any] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    if "nfkc" in pieces.normalization:
        # Precompiled loses what follows a character that changes and is written as one with it: after NFKC none does.
        steps.insert(0, normalizers.NFKC())
    if pieces.strip_spaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex("^ | $"), "")]
    return normalizers.Sequence(steps)


def _numbers(path: Path) -> dict[str, int]:
    """A vocabulary: piece → number, each of 0 … n−1 once."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or sorted(content.values()) != list(range(len(content))):
        raise ModelError(f"{path}: damaged: pieces and their numbers 0, 1, 2, … are wanted")
    return content


def _is_special(token: str) -> bool:
    return token in ("<s>", "<pad>", "</s>", "<unk>") or (token.startswith(">>") and token.endswith("<<"))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be read: {error.strerror}") from error
