"""Files that appear whole, whatever ends the program; and mappings that are read from them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Scope: a file beside `path` to be written, which takes its place when the block ends without an error.

    Readers see the old file or the new, whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    yield partial
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a file all at once."""
    with appearing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def read_mapping(path: Path, error: type[Exception]) -> dict[str, Any]:
    """A JSON file that holds one.  Raises `error` for one that is missing, damaged, or holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise error(f"{path}: cannot be read: {reason}") from reason
    if not isinstance(found, dict):
        raise error(f"{path}: holds no mapping")
    return found
