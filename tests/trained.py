"""Tokenizers that tests train: small, and real in all else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, normalizers, trainers
from tokenizers.models import BPE


def like_gemma(lines: Iterable[str], special: Sequence[str], vocab_size: int, limit_alphabet: int) -> Tokenizer:
    """Byte-pair encoding with spaces as ▁ and bytes to fall back on; `special` tokens come first, then the bytes."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=limit_alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer
