"""Unicode scripts of letters, from their names: Python knows the names of characters but not their scripts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

# First words of Unicode names → scripts, where they differ; None: of no script, or of several.
_OTHER_NAMES: dict[str, str | None] = {
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "KATAKANA-HIRAGANA": None,
    "MODIFIER": None,
    "FEMININE": None,  # ª and º, in Spanish ordinals
    "MASCULINE": None,
    "MICRO": None,
    "OHM": None,
    "KELVIN": None,
    "ANGSTROM": None,
    "SCRIPT": None,
    "BLACK-LETTER": None,
    "DOUBLE-STRUCK": None,
    "MATHEMATICAL": None,
    "ARABIC-INDIC": None,
}


@lru_cache(maxsize=1 << 14)
def script_of(character: str) -> str | None:
    """'Latin', 'Han', 'Cyrillic', …, named as in languages.py; None for what is no letter or of no one script."""
    if not character.isalpha():
        return None
    words = unicodedata.name(character, "MODIFIER").split()
    first = words[1] if words[0] in {"FULLWIDTH", "HALFWIDTH"} and len(words) > 1 else words[0]
    return _OTHER_NAMES.get(first, first.capitalize())


def scripts_of(text: str) -> Counter[str]:
    """How many letters of each script a text has."""
    return Counter(script for script in map(script_of, text) if script is not None)
