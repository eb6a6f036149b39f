"""Files that appear whole, whatever ends the program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
