"""The runs of an artefact: one image, a prompt that is read and a token that is written after it, or one of each graph
of a generator of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ArtefactError
from compress.runtime.artefact import DECODER, ENCODER, MANIFEST, MODEL, TEXT_ENCODER, TRANSFORMER, UNET, VAE_DECODER

_LAST = {"logits_to_keep": np.array(1, np.int64)}  # as the runtime asks: the logits of the last token alone
# Graphs of generators of images, in the order in which they work: text and decoder run once an image.
_PARTS = {TEXT_ENCODER: "text encoder", TRANSFORMER: "evaluation", UNET: "evaluation", VAE_DECODER: "decoder"}


@dataclass(frozen=True)
class Phase:
    """One run.  sizes: of the symbolic axes.  values: of inputs that decide what is done, where the graph has them."""

    name: str
    path: Path
    sizes: Mapping[str, int]
    values: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def is_artefact(path: Path) -> bool:
    """Whether `path` is an ONNX file, a directory of what this program exports, or that of a run."""
    files = (MANIFEST, MODEL, DECODER, *_PARTS, f"artefact/{MANIFEST}")
    return path.suffix == ".onnx" or any((path / name).is_file() for name in files)


def graphs(path: Path) -> tuple[Path, ...]:
    """The ONNX files of an artefact, or the file itself.  Raises ArtefactError if there is none."""
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ArtefactError(f"{path}: no such file")
        return (path,)
    found = tuple(path / name for name in (MODEL, ENCODER, DECODER, *_PARTS) if (path / name).is_file())
    if found:
        return found
    if (path / "artefact" / MANIFEST).is_file():
        raise ArtefactError(f"{path}: the directory of a run: did you mean {path / 'artefact'}?")
    raise ArtefactError(f"{path}: neither an artefact nor an ONNX file: it holds no {MODEL}")


def phases(path: Path, tokens: int, sizes: Mapping[str, int]) -> tuple[Phase, ...]:
    """The runs of an artefact at batch 1; of a generator of images one of each graph.

    tokens  are read as a prompt, or lie in the cache before a decoding step.
    sizes   of other symbolic axes, and in place of these.
    """
    found = graphs(path)
    if [each.name for each in found] == [ENCODER, DECODER]:
        encoder, decoder = found
        return _encoder_decoder(encoder, decoder, tokens, sizes)
    parts = {path / name: told for name, told in _PARTS.items()}
    if found[0] in parts:
        return tuple(Phase(parts[file], file, {**_batch(file), **sizes}) for file in found)
    (file,) = found
    names = _inputs(file)
    if any(name.startswith("past_key_values") for name in names):
        prefill = {"batch": 1, "sequence": tokens, "past": 0, **_optimum(tokens, 0), **sizes}
        decode = {"batch": 1, "sequence": 1, "past": tokens, **_optimum(1, tokens), **sizes}
        return (
            Phase(f"prefill of {tokens}", file, prefill, _LAST),
            Phase(f"token after {tokens}", file, decode, _LAST),
        )
    return (Phase("run", file, {**_batch(file), **sizes}),)


def _encoder_decoder(encoder: Path, decoder: Path, tokens: int, sizes: Mapping[str, int]) -> tuple[Phase, ...]:
    common = {"batch": 1, "encoder_sequence": tokens, "batch_size": 1, "encoder_sequence_length": tokens}
    first = {**common, "sequence": 1, **_pasts(0), **_optimum(1, 0), **sizes}
    later = {**common, "sequence": 1, **_pasts(tokens), **_optimum(1, tokens), **sizes}
    uses = "use_cache_branch"
    return (
        Phase(f"encoder of {tokens}", encoder, {**common, "sequence": tokens, **_optimum(tokens, 0), **sizes}),
        Phase("first token", decoder, first, {uses: np.array([False]), **_LAST}),
        Phase(f"token after {tokens}", decoder, later, {uses: np.array([True]), **_LAST}),
    )


def _pasts(tokens: int) -> dict[str, int]:
    """The caches of the decoder's own tokens and of the encoder's."""
    return {"past_decoder_sequence": tokens, "past_encoder_sequence": tokens}


def _optimum(sequence: int, past: int) -> dict[str, int]:
    """The names that Optimum gives to the axes."""
    return {
        "batch_size": 1,
        "sequence_length": sequence,
        "past_sequence_length": past,
        "total_sequence_length": past + sequence,
    }


def _inputs(path: Path) -> list[str]:
    from compress.runtime.graph import load_graph

    return [value.name for value in load_graph(path).graph.input]


def _batch(path: Path) -> dict[str, int]:
    """The first axis of the first input, if it is symbolic: one sample."""
    from compress.runtime.graph import load_graph

    graph = load_graph(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in stored]
    names = {value.type.tensor_type.shape.dim[0].dim_param for value in given if value.type.tensor_type.shape.dim}
    return dict.fromkeys(names, 1)
