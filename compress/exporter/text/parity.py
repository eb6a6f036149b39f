"""Whether the exported graphs and the torch model are the same function, on real token ids.

Compared are the logits of texts, once read whole in a batch padded on the left, once read in two parts and a token at
a time after their cache.

Float weights: the two differ by the order of sums alone.
Weights of 2 … 8 bits: MatMulNBits rounds activations to int8, a scale a block.  The measure is the root mean square
difference of the logits, as a share of their spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from compress.errors import ModelError, ParityError
from compress.models.quantized import quantized_weights
from compress.runtime.artefact import DECODER, ENCODER, MODEL
from compress.runtime.session import inference_session, session_options

if TYPE_CHECKING:
    from compress.models.translators import LoadedTranslator

Float = NDArray[np.float32]
Ints = NDArray[np.int64]

FLOAT_LIMIT = 1e-3  # of the largest logit
ROUNDING_LIMIT = 0.15  # of the logits' spread; Gemma 3 270M: 0.03 on text, 0.08 on tokens drawn at random
DYNAMIC_LIMIT = 0.3  # of the logits' spread, where activations have one scale a call
MOST_TOKENS = 32  # of a text: a head may be 262,144 wide
STEPS = 3  # tokens read one at a time

TEXTS = (
    "Good morning. The train to the city leaves at half past nine from platform four.",
    "Where can I buy a ticket, please?",
)


@dataclass(frozen=True)
class TextParity:
    """How far the graphs and the torch model are apart, on the logits of `num_tokens` tokens.

    max_difference  largest difference of a logit, as a share of the largest logit.
    rms_difference  root mean square difference of the logits, as a share of their spread (standard deviation).
    limit           what the first (float weights) or the second (quantized ones) may be.
    agreement       share of the tokens after which both choose the same next one.
    """

    num_tokens: int
    max_difference: float
    rms_difference: float
    limit: float
    agreement: float


def check_text_parity(
    loaded: LoadedTranslator, directory: Path, texts: Sequence[str] | None = None, where: str = ""
) -> TextParity:
    """Compare the graphs in `directory` with `loaded.model` on texts.

    Raises ParityError, with the figures, if they are further apart than the limits of this module, or if a graph
    gives something that is not a number.
    """
    rows = [token_ids(loaded, text) for text in (texts if texts else TEXTS)]
    return check_ids_parity(loaded.model, directory, [row for row in rows if len(row) > STEPS], where)


def token_ids(loaded: LoadedTranslator, text: str) -> list[int]:
    """As the tokenizer makes them, special tokens among them, at most MOST_TOKENS."""
    return list(loaded.tokenizer.encode(text).ids)[:MOST_TOKENS]


def check_ids_parity(model: Any, directory: Path, rows: Sequence[Sequence[int]], where: str = "") -> TextParity:
    """The same on sequences of token ids, each longer than STEPS."""
    if not rows:
        raise ModelError(f"{where or directory}: nothing to compare: give texts of more than {STEPS} tokens")
    compare = _encoder_decoder_logits if model.config.is_encoder_decoder else _decoder_logits
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            reference, found = compare(model, directory, rows)
    finally:
        model.train(training)
    if not np.isfinite(found).all():
        raise ParityError(f"{where or directory}: gives logits that are not finite")
    return _judged(reference, found, _limit(model), bool(quantized_weights(model)), where or str(directory))


def _limit(model: Any) -> float:
    if getattr(model, "dynamic_layers", None):
        return DYNAMIC_LIMIT
    return ROUNDING_LIMIT if quantized_weights(model) else FLOAT_LIMIT


def _judged(reference: Float, found: Float, limit: float, rounds: bool, where: str) -> TextParity:
    difference, spread = (found - reference).astype(np.float64), float(reference.std()) or 1.0
    parity = TextParity(
        num_tokens=len(reference),
        max_difference=float(np.abs(difference).max() / (np.abs(reference).max() or 1.0)),
        rms_difference=float(np.sqrt(np.mean(difference**2))) / spread,
        limit=limit,
        agreement=float((found.argmax(-1) == reference.argmax(-1)).mean()),
    )
    apart = parity.rms_difference if rounds else parity.max_difference
    if apart > limit:
        raise ParityError(
            f"{where}: not the same function as the torch model: on {parity.num_tokens} tokens the logits differ by "
            f"{parity.max_difference:.2g} of the largest (root mean square {parity.rms_difference:.2g} of their "
            f"spread), {parity.agreement:.2%} of the choices agree; allowed is {limit:.2g}"
        )
    return parity


def _decoder_logits(model: Any, directory: Path, rows: Sequence[Sequence[int]]) -> tuple[Float, Float]:
    """(of torch, of the graph), each [tokens, vocabulary], every token twice: read whole, and in parts."""
    session = open_graph(directory / MODEL)
    ids, mask = padded_left(rows)
    given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    reference = model(**given, position_ids=torch.from_numpy(positions(mask)), use_cache=False).logits.float().numpy()
    whole, _ = run_decoder(session, ids, mask)
    first, cache = run_decoder(session, ids[:, :-STEPS], mask[:, :-STEPS])
    parts = [first]
    for column in range(ids.shape[1] - STEPS, ids.shape[1]):
        step, cache = run_decoder(session, ids[:, column : column + 1], mask[:, : column + 1], cache)
        parts.append(step)
    real = mask.astype(bool)
    pieces = [part[real] for part in (whole, np.concatenate(parts, axis=1))]
    return np.concatenate([reference[real]] * 2), np.concatenate(pieces)


def run_decoder(
    session: Any, ids: Ints, mask: Ints, cache: Mapping[str, Float] | None = None, keep: int = 0
) -> tuple[Float, dict[str, Float]]:
    """One run of a decoder's graph → logits, and the cache for the next one; `mask` is [batch, past + sequence]."""
    names = [given for given in session.get_inputs() if given.name.startswith("past_key_values.")]
    if cache is None:
        cache = {one.name: np.zeros((len(ids), one.shape[1], 0, one.shape[3]), np.float32) for one in names}
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions(mask)[:, -ids.shape[1] :]}
    logits, *present = session.run(None, {**inputs, **cache, "logits_to_keep": np.array(keep, np.int64)})
    return logits, dict(zip((one.name for one in names), present, strict=True))


def _encoder_decoder_logits(model: Any, directory: Path, rows: Sequence[Sequence[int]]) -> tuple[Float, Float]:
    """The same; the texts are both the encoder's input and, after the start token, the decoder's."""
    encoder, decoder = open_graph(directory / ENCODER), open_graph(directory / DECODER)
    ids, mask = padded_right(rows)
    start = model.generation_config.decoder_start_token_id
    start = model.config.decoder_start_token_id if start is None else start
    targets = np.concatenate([np.full((len(ids), 1), start, np.int64), ids[:, ::-1]], axis=1)[:, :MOST_TOKENS]
    reference = (
        model(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            decoder_input_ids=torch.from_numpy(targets.copy()),
            use_cache=False,
        )
        .logits.float()
        .numpy()
    )
    [states] = encoder.run(None, {"input_ids": ids, "attention_mask": mask})
    whole, _ = run_cross_decoder(decoder, targets, mask, states)
    first, cache = run_cross_decoder(decoder, targets[:, :-STEPS], mask, states)
    parts = [first]
    for column in range(targets.shape[1] - STEPS, targets.shape[1]):
        step, cache = run_cross_decoder(decoder, targets[:, column : column + 1], mask, states, cache)
        parts.append(step)
    reference = reference.reshape(-1, reference.shape[-1])
    found = [part.reshape(-1, part.shape[-1]) for part in (whole, np.concatenate(parts, axis=1))]
    return np.concatenate([reference] * 2), np.concatenate(found)


def run_cross_decoder(
    session: Any,
    ids: Ints,
    encoder_mask: Ints,
    states: Float,
    cache: Mapping[str, Float] | None = None,
    keep: int = 0,
) -> tuple[Float, dict[str, Float]]:
    """One run of an encoder–decoder's decoder → logits, and the cache for the next one."""
    names = [given for given in session.get_inputs() if given.name.startswith("past_key_values.")]
    use_cache = cache is not None
    if cache is None:
        cache = {one.name: np.zeros((len(ids), one.shape[1], 1, one.shape[3]), np.float32) for one in names}
    inputs = {
        "input_ids": ids,
        "encoder_attention_mask": encoder_mask,
        "encoder_hidden_states": states,
        "use_cache_branch": np.array([use_cache]),
        "logits_to_keep": np.array(keep, np.int64),
    }
    logits, *present = session.run(None, {**inputs, **cache})
    return logits, dict(zip((one.name for one in names), present, strict=True))


def open_graph(path: Path) -> Any:
    return inference_session(path, session_options(threads=2))


def positions(mask: Ints) -> Ints:
    """Of each token among those of its row that are no padding."""
    return np.maximum(np.cumsum(mask, axis=1) - 1, 0)


def padded_left(rows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Token ids of rows of any lengths → (ids, mask), int64 [rows, longest]."""
    ids, mask = padded_right([row[::-1] for row in rows])
    return np.ascontiguousarray(ids[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])


def padded_right(rows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    longest = max(map(len, rows))
    ids = np.array([[*row, *[row[0]] * (longest - len(row))] for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int64)
    return ids, mask
