"""What Markdown shows as code: fenced blocks with their language, and commands within lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "compress/README.md", "RESULTS.md")
PAGES += tuple(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / ".github/reference").glob("*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(compress [^`]+)`")


@dataclass(frozen=True)
class Block:
    """language: '' where the fence names none.  line: where it begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """The fenced blocks of all pages."""
    return [
        Block(page, text[: found.start()].count("\n") + 1, found[1], found[2])
        for page in PAGES
        for text in [(ROOT / page).read_text(encoding="utf-8")]
        for found in _FENCE.finditer(text)
    ]


def _whole(lines: list[str]) -> list[str]:
    """Lines, those that a quotation holds together joined."""
    found: list[str] = []
    for line in lines:
        if found and found[-1].partition(" #")[0].count('"') % 2:
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found


def commands() -> Iterator[Block]:
    """Each command of a block in sh or text, and each that stands within a line (language 'inline'), once a page."""
    seen = set()
    for block in blocks():
        lines = _whole(block.text.replace("\\\n", " ").splitlines())
        if block.language == "text":
            lines = [line for line in lines if re.match(r"(compress|python|make|pip) ", line)]
        for line in lines if block.language in ("sh", "text") else ():
            if line.strip() and not line.lstrip().startswith("#"):
                yield Block(block.page, block.line, "sh", line)
    for page in PAGES:
        text = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), (ROOT / page).read_text(encoding="utf-8"))
        for found in _INLINE.finditer(text):
            words = " ".join(found[1].replace("\\|", "|").split())
            if (page, words) not in seen:
                seen.add((page, words))
                yield Block(page, text[: found.start()].count("\n") + 1, "inline", words)
