"""Prompts that images are made of: a set of texts, one a line.

open_captions("text:prompts.txt[0:16]").texts
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.data.parallel import digest_of
from compress.data.spec import DatasetSpec, Grammar
from compress.errors import DataError

CAPTIONS = Grammar(
    "set of prompts",
    ("demo", "text"),
    "demo, or text:prompts.txt, a prompt a line",
    lambda path: f"write text:{path}",
)
_DEMO = Path(__file__).with_name("captions.txt")


@dataclass(frozen=True)
class Captions:
    """texts, in order; none is empty."""

    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def fingerprint(self) -> str:
        """sha256 (hex) over the texts."""
        return digest_of(self.texts)


def open_captions(text: str) -> Captions:
    """The set that a recipe names: demo or text:FILE, each with an optional [first:end].  Empty lines are left out.

    Raises DataError for a set that is missing, empty or no text.
    """
    spec = parse_captions(text)
    path = _DEMO if spec.kind == "demo" else spec.file()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"dataset '{text}': {path} cannot be read as text: {error}") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise DataError(f"dataset '{text}' holds no prompts")
    rows = spec.rows(len(found), "prompts")
    return Captions(tuple(found[rows.start : rows.stop]))


def parse_captions(text: str) -> DatasetSpec:
    """A set of prompts.  Raises DataError, with what to write instead, for text that names none."""
    return CAPTIONS.parse(text)


def captions_problems(text: str) -> list[str]:
    """What is wrong with a set as far as can be told without reading it: its text, and whether its file exists."""
    try:
        spec = parse_captions(text)
        if spec.kind == "text":
            spec.file()
    except DataError as error:
        return [str(error)]
    return []
