"""Sizes to run a recipe at: '0.1GB:0.5GB:9' are nine, evenly spaced, both ends among them."""

from __future__ import annotations

from compress.errors import CompressError
from compress.recipe.sizes import size_in_bytes


def parse_sizes(text: str) -> list[int]:
    """Bytes, rising.  Raises CompressError for text that is no range of sizes."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) != 3:
        raise CompressError(f"--sizes {text}: write FROM:TO:COUNT, such as 0.1GB:0.5GB:9")
    first, last = (_bytes(part, text) for part in parts[:2])
    if not parts[2].isdecimal() or int(parts[2]) < 2:
        raise CompressError(f"--sizes {text}: '{parts[2]}' is no number of sizes: write 2 or more")
    count = int(parts[2])
    if not 0 < first < last or last - first < count - 1:
        raise CompressError(
            f"--sizes {text}: {first:,} to {last:,} bytes are not {count} sizes: write the smaller first"
        )
    return [first + (last - first) * number // (count - 1) for number in range(count)]


def _bytes(part: str, text: str) -> int:
    try:
        size = int(part) if part.isdecimal() else size_in_bytes(part)
    except ValueError as error:
        raise CompressError(f"--sizes {text}: {error}") from error
    assert isinstance(size, int)  # of text it gives a number, or raises
    return size
