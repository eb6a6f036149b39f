"""Merges of byte-pair encoding from the scores that SentencePiece keeps instead."""

from __future__ import annotations

from collections.abc import Mapping


def merges_of(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """The pairs that make each piece, best score first.

    SentencePiece merges, again and again, the neighbours whose union has the highest score (Sennrich et al. 2016,
    arXiv:1508.07909); a list of merges says the same where every way to halve a piece has the piece's own place.
    """
    found = []
    for place, (piece, score) in enumerate(scores.items()):
        for middle in range(1, len(piece)):
            left, right = piece[:middle], piece[middle:]
            if left in scores and right in scores:
                found.append((-score, place, middle, left, right))
    found.sort()
    return [(left, right) for *_, left, right in found]
