"""Parallel text to train translators on: the sequences that calibration reads too, with what should come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from compress.jobs.sequences import examples_in_a_row, sentence_pairs
from compress.tasks.translation import Example

if TYPE_CHECKING:
    from torch import Tensor

    from compress.models.translators import LoadedTranslator
    from compress.training.examples import Batch


class TextExamples:
    """An `Examples` of a translator, whose tokenizers are those of its kept vocabulary.

    Of a decoder an example is a row of sentence pairs as its prompt shows them, and each token is asked for from those
    before it; of an encoder–decoder it is a pair, and the reference's tokens and its end are asked for.
    """

    def __init__(self, source: LoadedTranslator, examples: Sequence[Example], longest: int) -> None:
        sequences = examples_in_a_row if source.family == "decoder" else sentence_pairs
        self.rows = [tuple(row) for row in sequences(source, examples, longest)]
        settings = source.model.generation_config
        ends = settings.eos_token_id
        self.end = ends[0] if isinstance(ends, list) else ends
        self.pad = settings.pad_token_id if settings.pad_token_id is not None else self.end
        self.is_decoder = source.family == "decoder"

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        """(input_ids,) of a decoder, (input_ids, attention_mask, decoder_input_ids) of the other, [N, T], padded on the
        right; nothing is asked at padding, which a causal model reads only behind all that is asked."""
        from compress.training.examples import NOTHING, Batch

        chosen = [self.rows[row] for row in rows]
        written = [row[-1] for row in chosen]
        labels = [[*tokens[1:], NOTHING if self.is_decoder else self.end] for tokens in written]
        inputs = [self._padded([row[0] for row in chosen], self.pad)]
        if not self.is_decoder:
            inputs += [self._padded([row[1] for row in chosen], 0), self._padded(written, self.pad)]
        return Batch(tuple(inputs), self._padded(labels, NOTHING))

    def _padded(self, rows: Sequence[Sequence[int]], filler: int) -> Tensor:
        import torch

        longest = max(map(len, rows))
        return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
