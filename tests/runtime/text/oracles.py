"""What a translator should give, computed the slow way: every step reads the whole sequence again, one text alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tests.runtime.text.toys import HEADS, SIZE

Next = Callable[[Sequence[int]], NDArray[Any]]  # tokens read so far → logits [positions, vocabulary]


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options)


def decoder(directory: Path) -> Next:
    """Logits of all positions of a sequence, by a decoder with an empty cache."""
    opened = session(directory / "model.onnx")
    past = [given.name for given in opened.get_inputs() if given.name.startswith("past")]
    empty = np.zeros((1, HEADS, 0, SIZE), np.float32)

    def logits(tokens: Sequence[int]) -> NDArray[Any]:
        given = np.array([tokens])
        inputs = {
            "input_ids": given,
            "attention_mask": np.ones_like(given),
            "position_ids": np.arange(len(tokens))[None],
        }
        return opened.run(["logits"], inputs | dict.fromkeys(past, empty))[0][0]

    return logits


def encoder_decoder(directory: Path, source: Sequence[int]) -> Next:
    """Logits of all positions of an output, by a decoder with an empty cache."""
    given = np.array([source])
    mask = np.ones_like(given)
    states = session(directory / "encoder_model.onnx").run(None, {"input_ids": given, "attention_mask": mask})[0]
    opened = session(directory / "decoder_model_merged.onnx")
    past = [given.name for given in opened.get_inputs() if given.name.startswith("past")]
    inputs = {
        "encoder_attention_mask": mask,
        "encoder_hidden_states": states,
        "use_cache_branch": np.array([False]),
        **dict.fromkeys(past, np.zeros((1, HEADS, 1, SIZE), np.float32)),
    }
    return lambda tokens: opened.run(["logits"], {**inputs, "input_ids": np.array([tokens])})[0][0]


def greedy(following: Next, prompt: Sequence[int], number: int, ends: Sequence[int]) -> tuple[int, ...]:
    """The tokens written after the prompt, without the end token."""
    written: list[int] = []
    while len(written) < number:
        token = int(following([*prompt, *written])[-1].argmax())
        if token in ends:
            break
        written.append(token)
    return tuple(written)


def nats(following: Next, prompt: Sequence[int], written: Sequence[int]) -> float:
    """-log p of what is written after the prompt."""
    logits = following([*prompt, *written])[len(prompt) - 1 : -1].astype(np.float64)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -float(sum(row[token] for row, token in zip(logits, written, strict=True)))
