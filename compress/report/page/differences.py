"""Two texts side by side: the words, or in scripts without spaces the letters, that only one of them has."""

from __future__ import annotations

import difflib
import re

# Chinese and Japanese letters, and Thai, Lao, Burmese and Khmer ones, are compared one by one.
_SINGLE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORDS = re.compile(f"[{_SINGLE}]|[^\\W{_SINGLE}]+|\\s+|[^\\w\\s]")

Segments = tuple[tuple[str, bool], ...]  # pieces of a text in order, each with whether the other text lacks it


def differences(before: str, after: str) -> tuple[Segments, Segments]:
    """Both texts in pieces; what is marked in one is not in the other.  Put together, pieces are their text again."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    ours: list[tuple[str, bool]] = []
    theirs: list[tuple[str, bool]] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        for pieces, words in ((ours, old[start:end]), (theirs, new[new_start:new_end])):
            if words:
                pieces.append(("".join(words), kind != "equal"))
    return tuple(ours), tuple(theirs)
