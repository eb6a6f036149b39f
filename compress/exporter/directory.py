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

if TYPE_CHECKING:
    from torch import nn


def quantization(model: nn.Module) -> dict[str, Any]:
    """What compress.json says of weights and activations."""
    from compress.exporter.codecs import stored_bytes
    from compress.models.quantized import quantized_activations, quantized_weights

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
    return {"weights": weights, "activations": len(quantized_activations(model))}


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
        partial.chmod(0o777 & ~_umask())  # mkdtemp's own mode lets nobody else in
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
