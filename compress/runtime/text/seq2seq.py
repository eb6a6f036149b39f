"""An encoder and a decoder that keeps the keys and values of both: two graphs.

encoder_model.onnx          input_ids, attention_mask int64 [rows, columns] → last_hidden_state [rows, columns, width]
decoder_model_merged.onnx   input_ids, encoder_attention_mask, encoder_hidden_states, use_cache_branch bool [1],
                            past_key_values.N.{decoder,encoder}.{key,value}
                            → logits [rows, columns, vocabulary], present.N.{decoder,encoder}.{key,value}

The first run of the decoder computes the encoder's keys and values (use_cache_branch false); later ones get them back.
Inputs of the encoder are padded on the right; the decoder's rows all have the same length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ArtefactError
from compress.runtime.artefact import DECODER, ENCODER
from compress.runtime.text.running import SessionRun
from compress.runtime.text.tensors import (
    Head,
    Ints,
    Logits,
    gathered,
    held,
    logits_of,
    open_text_session,
    run,
    type_of,
)

_PAST, _PRESENT = "past_key_values.", "present."


class Memory:
    """What the decoder knows of rows.

    texts    int64 [rows]: which of the encoder's inputs each row belongs to.
    states   OrtValue [rows, columns, width]: the encoder's output; mask: OrtValue [rows, columns].
    crossed  keys and values of the encoder by their input's name; empty before the first run.
    own      keys and values of the decoder by their input's name; empty before the first run.
    """

    def __init__(self, states: Any, mask: Ints) -> None:
        self.texts = np.arange(len(mask))
        self.states, self.mask = states, mask
        self.crossed: dict[str, Any] = {}
        self.own: dict[str, Any] = {}

    def select(self, rows: Ints) -> None:
        self.own = {name: gathered(value, rows) for name, value in self.own.items()}
        texts = self.texts[rows]
        if np.array_equal(texts, self.texts):  # beams changed places among those of the same text
            return
        self.texts, self.mask, self.states = texts, self.mask[rows], gathered(self.states, rows)
        self.crossed = {name: gathered(value, rows) for name, value in self.crossed.items()}


class Seq2SeqModel:
    """The sessions of an encoder and a decoder."""

    def __init__(self, directory: Path, threads: int) -> None:
        self.encoder_path, self.path = directory / ENCODER, directory / DECODER
        self.encoder = open_text_session(self.encoder_path, threads)
        self.session = open_text_session(self.path, threads)
        self.head = Head(self.session, self.path)
        inputs = {given.name: given for given in self.session.get_inputs()}
        past = {name: given for name, given in inputs.items() if name.startswith(_PAST)}
        self.crossed = {name: name.replace(_PAST, _PRESENT) for name in past if ".encoder." in name}
        self.own = {name: name.replace(_PAST, _PRESENT) for name in past if ".decoder." in name}
        if not self.crossed or not self.own or "use_cache_branch" not in inputs:
            raise ArtefactError(
                f"{self.path}: takes {', '.join(inputs)}: a decoder takes use_cache_branch, {_PAST}N.decoder.key "
                f"and {_PAST}N.encoder.key"
            )
        self.given = inputs.keys() & {"encoder_hidden_states", "encoder_attention_mask"}
        self.nothing = {name: self._nothing(given) for name, given in past.items()}
        self.encoder_inputs = [given.name for given in self.encoder.get_inputs()]

    def _nothing(self, given: Any) -> tuple[int, int, type[np.floating[Any]]]:
        _, heads, _, size = given.shape
        if not isinstance(heads, int) or not isinstance(size, int):
            raise ArtefactError(f"{self.path}: '{given.name}' is {given.shape}: heads and their size must be fixed")
        return heads, size, type_of(given)

    def encode(self, sequences: Sequence[Sequence[int]]) -> Memory:
        """Run the encoder on the sequences, one a row."""
        columns = max(map(len, sequences))
        tokens = np.zeros((len(sequences), columns), np.int64)
        mask = np.zeros_like(tokens)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        given = {"input_ids": tokens, "attention_mask": mask}
        inputs = {name: held(given[name]) for name in self.encoder_inputs}
        [states] = run(self.encoder, self.encoder_path, ["last_hidden_state"], inputs)
        return Memory(states, mask)

    def read(self, memory: Memory, tokens: Ints, wanted: int) -> Iterator[tuple[int, Logits]]:
        """Let the decoder read tokens [rows, columns], as `CausalModel.read` does."""
        rows, columns = tokens.shape
        for start, end, kept in self.head.blocks(rows, columns, wanted):
            value = self._run(memory, tokens[:, start:end], max(kept, 1))
            if kept:
                yield end - kept, logits_of(value, kept)

    def _run(self, memory: Memory, tokens: Ints, kept: int) -> Any:
        first = not memory.own
        past = {**memory.own, **memory.crossed}
        if first:  # one column that nobody reads: some graphs do not take none
            for name, (heads, size, kind) in self.nothing.items():
                past[name] = held(np.zeros((len(tokens), heads, 1, size), kind))
        given = {"encoder_hidden_states": memory.states, "encoder_attention_mask": held(memory.mask)}
        inputs = {
            "input_ids": held(tokens),
            "use_cache_branch": held(np.array([not first])),
            **{name: given[name] for name in self.given},
            **past,
            **self.head.inputs(kept),
        }
        names = [*self.own.values(), *(self.crossed.values() if first else ())]
        logits, *values = run(self.session, self.path, ["logits", *names], inputs)
        memory.own = dict(zip(self.own, values, strict=False))
        if first:
            memory.crossed = dict(zip(self.crossed, values[len(self.own) :], strict=True))
        return logits

    def begin(self, sequences: Sequence[Sequence[int]], start: Sequence[int]) -> SessionRun:
        """Encode the sequences, one a row, and let the decoder read `start` in each."""
        memory = self.encode(sequences)
        tokens = np.tile(np.array(start, np.int64), (len(sequences), 1))
        [(_, logits)] = self.read(memory, tokens, 1)

        def step(token: Ints) -> Logits:
            [(_, after)] = self.read(memory, token, 1)
            return after

        return SessionRun(memory, logits, step)
