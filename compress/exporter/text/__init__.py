"""export_translator(): a language model, with what the passes decided lying on it as data, becomes a translator's
directory: graphs with caches, their weights beside them, tokenizers, and the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.prompts import PROMPT
from compress.errors import ModelError, require
from compress.exporter.card import Card
from compress.exporter.directory import appearing, describe, write_json
from compress.runtime.artefact import TARGET_TOKENIZER, TOKENIZER

if TYPE_CHECKING:
    from compress.exporter.text.weightfile import WeightFile
    from compress.models.translators import LoadedTranslator
    from compress.runtime.artefact import Artefact
    from compress.targets import Target
    from compress.tasks.base import Scores

__all__ = ["export_translator", "graph_bytes", "write_graphs"]


def export_translator(
    loaded: LoadedTranslator,
    directory: str | Path,
    *,
    target: Target | str,
    lock: Mapping[str, Any] | None = None,
    scores: Scores | None = None,
    card: Card | None = None,
    verify_texts: Sequence[str] | None = None,
    force: bool = False,
) -> Artefact:
    """Write the artefact of `loaded` into `directory`, which appears all at once, and return it.

    Where its model has dropped tokens, the tokenizers and the prompt are those of the tokens that are left.

    lock          what decided the result: recipe, seed, versions, hashes of the data.
    card          what the model card says beside the numbers; without it, what `loaded` says.
    verify_texts  on which the files and the torch model are compared; without them, on texts of this program.
    force         replace a directory that is there.

    Raises ArtefactError for a directory that exists; ModelError for an architecture that is not known, or a target
    that does not run onnxruntime; ParityError if the files and the torch model are not the same function.
    """
    require("torch", "exporting a model", "torch")
    from compress import __version__, targets
    from compress.exporter.text.parity import check_text_parity
    from compress.models.translators.trimmed import trimmed
    from compress.runtime.artefact import open_artefact

    directory = Path(directory)
    target = targets.load(target) if isinstance(target, str) else target
    check_target(target)
    loaded = trimmed(loaded)
    card = card or Card(loaded.description, loaded.random_weights, loaded.licence, task="translation")
    with appearing(directory, force) as partial:
        write_graphs(loaded.model, partial, __version__)
        model_bytes = sum(file.stat().st_size for file in partial.iterdir())
        check_text_parity(loaded, partial, verify_texts, where=str(directory))
        _write_beside(loaded, partial)
        describe(partial, loaded.model, target, card, model_bytes, lock, scores)
    return open_artefact(directory)


def check_target(target: Target) -> None:
    """Raises ModelError for a target that cannot run a translator's graphs."""
    from compress.exporter.text.builder import IR_VERSION, OPSETS

    if target.runtime != "onnx-cpu":
        raise ModelError(f"target {target.name} runs {target.runtime}: translators run on onnxruntime: choose another")
    if target.max_opset < OPSETS[""]:
        wanted = f"opset {OPSETS['']} (IR {IR_VERSION})"
        raise ModelError(f"target {target.name} reads opset {target.max_opset} at most: translators need {wanted}")


def write_graphs(model: Any, directory: Path, version: str) -> None:
    """Write the ONNX graphs of a transformers model and the one file of their weights into `directory`."""
    from compress.exporter.text.weightfile import WeightFile

    with WeightFile(directory) as weights:
        graphs = _graphs(model, weights, version)
    for name, graph in graphs.items():
        (directory / name).write_bytes(graph)


def graph_bytes(model: Any) -> int:
    """Of the files that `write_graphs` would write of a model.  A weight at a time is packed, counted and forgotten."""
    from compress import __version__
    from compress.exporter.text.weightfile import WeightFile

    with WeightFile(None) as weights:
        graphs = _graphs(model, weights, __version__)
        return weights.stream.tell() + sum(map(len, graphs.values()))


def _graphs(model: Any, weights: WeightFile, version: str) -> dict[str, bytes]:
    """The files of the graphs, by name; what they weigh goes into `weights`."""
    from compress.exporter.text.builder import serialized
    from compress.exporter.text.decoder_only import decoder_only
    from compress.exporter.text.encoder_decoder import encoder_decoder
    from compress.runtime.artefact import DECODER, ENCODER, MODEL

    if model.config.is_encoder_decoder:
        encoder, decoder = encoder_decoder(model, weights)
        graphs = {ENCODER: encoder, DECODER: decoder}
    else:
        graphs = {MODEL: decoder_only(model, weights)}
    return {name: serialized(graph, version) for name, graph in graphs.items()}


def _write_beside(loaded: LoadedTranslator, directory: Path) -> None:
    """All that is no graph."""
    for name, content in loaded.files.items():
        (directory / name).write_bytes(content)
    configs = {
        "config.json": loaded.model.config.to_json_string(use_diff=False),
        "generation_config.json": loaded.model.generation_config.to_json_string(),
    }
    for name, text in configs.items():
        write_json(directory / name, json.loads(text))
    written = {TOKENIZER: loaded.tokenizer.to_str(), PROMPT: loaded.prompt.to_json()}
    if loaded.target_tokenizer is not None:
        written[TARGET_TOKENIZER] = loaded.target_tokenizer.to_str()
    for name, text in written.items():
        (directory / name).write_text(text, encoding="utf-8", newline="\n")
