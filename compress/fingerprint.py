"""What decides a result, as one hash: parts of the recipe, data, files, library versions, this program's own source."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from pathlib import Path
from typing import Any

# Their versions can change the bytes of an artefact.  Those that are not installed are left out.
LIBRARIES: tuple[str, ...] = ("numpy", "onnx", "onnxruntime", "onnxscript", "pillow", "timm", "torch")
LIBRARIES += ("torch-pruning", "torchvision", "transformers")

# Parts of the program that only say or show what the others did, or that run them, or others' programs.
_WITHOUT_EFFECT: tuple[str, ...] = (
    "__main__.py",
    "cli",
    "plan.py",
    "preflight.py",
    "progress.py",
    "report/layouts.py",
    "report/table.py",
    "shipped.py",
)
_WITHOUT_EFFECT += ("sweeping", "integrations", "published", "reference")


def fingerprint(*parts: Any) -> str:
    """sha256, in hexadecimal, of plain data: equal data, equal hash, in whatever order its keys come."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@functools.cache
def code_version() -> str:
    """sha256 of those source and data files of this package that can change a result."""
    root = Path(__file__).parent
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.suffix in (".py", ".yaml")}
    hashed = {
        name: file_sha256(path)
        for name, path in files.items()
        if not any(name == without or name.startswith(f"{without}/") for without in _WITHOUT_EFFECT)
        and not name.startswith("recipes/")
    }
    return fingerprint(hashed)


@functools.cache
def _library_versions() -> tuple[tuple[str, str], ...]:
    versions = [("python", platform.python_version())]
    for library in LIBRARIES:
        try:
            versions.append((library, importlib.metadata.version(library)))
        except importlib.metadata.PackageNotFoundError:
            continue  # not installed: it had no part in the result
    return tuple(versions)


def versions() -> dict[str, str]:
    """Version of Python, of this package, and of each installed library that can change a result."""
    from compress import __version__

    return {"compress": __version__, **dict(_library_versions())}
