"""Outputs: what a translator made of the data, as plain values that are kept and scored later, anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from compress.errors import DataError


@dataclass(frozen=True)
class PairOutputs:
    """Of one language pair.

    rows            numbers of the rows scored by likelihood; nats, num_tokens and num_chars belong to them.
    nats            −log p of the reference, summed over its tokens.
    num_tokens      tokens of the reference, by the model's own tokenizer.
    num_chars       characters of the reference.
    translated      numbers of the rows translated; hypotheses and finished belong to them.
    finished        False: cut by the limit of tokens.
    """

    rows: tuple[int, ...]
    nats: tuple[float, ...]
    num_tokens: tuple[int, ...]
    num_chars: tuple[int, ...]
    translated: tuple[int, ...]
    hypotheses: tuple[str, ...]
    finished: tuple[bool, ...]


@dataclass(frozen=True)
class Outputs:
    """By language pair.  data: the fingerprint of the evaluation data."""

    data: str
    pairs: Mapping[str, PairOutputs]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read_outputs(text: str) -> Outputs:
    """What `to_json` wrote, bit for bit.  Raises DataError if it is damaged."""
    try:
        plain: dict[str, Any] = json.loads(text)
        pairs = {
            pair: PairOutputs(**{name: tuple(values) for name, values in given.items()})
            for pair, given in plain["pairs"].items()
        }
        return Outputs(str(plain["data"]), pairs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"the outputs of a translator are damaged: {error}") from error
