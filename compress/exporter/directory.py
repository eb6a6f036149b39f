"""What every export does with its directory: it appears all at once, and compress.json says what lies in it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ArtefactError
from compress.exporter.card import Card, write_card
from compress.runtime.artefact import deflated_bytes, holds_model, write_manifest

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target
    from compress.tasks.base import Scores


def describe(
    directory: Path,
    model: nn.Module,
    target: Target,
    card: Card,
    model_bytes: int,
    lock: Mapping[str, Any] | None,
    scores: Scores | None,
) -> None:
    """Write the model card and compress.json over the files that lie in `directory`.

    model_bytes  of the graphs with their weights.
    """
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    content = {
        "lock": dict(lock or {}),
        "model": {
            "description": card.description,
            "random_weights": card.random_weights,
            "parameters": num_parameters,
        },
        "target": target.name,
        "quantization": {
            **_quantization(model),
            **_sparsity(model, directory, model_bytes),
            "effective_bits": round(8 * model_bytes / num_parameters, 3),
        },
        "scores": scores or {},
    }
    write_card(directory, card, content, scores or {})
    write_manifest(directory, content)


def _quantization(model: nn.Module) -> dict[str, Any]:
    """What compress.json says of weights and activations, and of a vocabulary that was trimmed."""
    from compress.exporter.codecs import stored_bytes
    from compress.models.activations import quantized_activations
    from compress.models.quantized import quantized_weights
    from compress.models.vocabulary import first_vocabulary_size, kept_tokens

    weights = {
        name: {
            "num_bits": weight.num_bits,
            "group_size": weight.group_size,
            "symmetric": weight.zero_points is None,
            "scales": weight.scales.numel(),
            "bytes": stored_bytes(weight),
        }
        for name, weight in quantized_weights(model).items()
    }
    kept = kept_tokens(model)
    # of a model that has dropped tokens
    trimmed = {} if kept is None else {"vocabulary": {"tokens": len(kept), "of": first_vocabulary_size(model)}}
    return {"weights": weights, "activations": len(quantized_activations(model)), **trimmed}


def _sparsity(model: nn.Module, directory: Path, model_bytes: int) -> dict[str, Any]:
    """What compress.json says of a pruned model: the share of weights that passes made zero, and what that gives: the
    bytes of the graphs as they lie in `directory` and deflated, as a download is."""
    from compress.models.masks import num_pruned

    pruned, of = num_pruned(model)
    if not pruned:
        return {}
    gzip_bytes = sum(deflated_bytes(path) for path in sorted(directory.rglob("*")) if holds_model(path.name))
    return {"sparsity": {"share": round(pruned / of, 4), "model_bytes": model_bytes, "gzip_bytes": gzip_bytes}}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8", newline="\n")


@contextmanager
def appearing(directory: Path, force: bool) -> Iterator[Path]:
    """Scope: an empty directory beside `directory`, which takes its place when the block ends without an error."""
    if directory.exists() and not force:
        raise ArtefactError(f"{directory}: exists already: give another directory, or force=True to replace it")
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".partial", dir=directory.parent))
    try:
        yield partial
        partial.chmod(0o777 & ~umask())  # mkdtemp's own mode lets nobody else in
        _put(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, directory: Path) -> None:
    """Rename `partial` to `directory`, whose old content goes last."""
    old = partial.with_suffix(".old")
    if directory.exists():
        os.replace(directory, old)
    os.replace(partial, directory)
    shutil.rmtree(old, ignore_errors=True)


def umask() -> int:
    """The permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
