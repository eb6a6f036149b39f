"""Language pairs as they are written in recipes: 'en-fr', 'zh-Hant-en'."""

from __future__ import annotations

from compress.data.languages import LANGUAGES
from compress.errors import DataError


def parse_pair(text: str) -> tuple[str, str]:
    """('en', 'fr') of 'en-fr'.  A code may hold a hyphen of its own: 'zh-Hant-en' is from Traditional Chinese.

    A pair with one hyphen may name languages that are not in LANGUAGES: a data set decides what it has.
    Raises DataError if it is no pair, or a language with itself.
    """
    parts = text.split("-")
    splits = [("-".join(parts[:at]), "-".join(parts[at:])) for at in range(1, len(parts))]
    known = [pair for pair in splits if pair[0] in LANGUAGES and pair[1] in LANGUAGES]
    if len(splits) == 1 and text not in LANGUAGES:
        known = splits
    if len(known) != 1 or not all(known[0]):
        raise DataError(f"'{text}' is not a language pair: write SOURCE-TARGET, such as en-fr or en-zh-Hant")
    if known[0][0] == known[0][1]:
        raise DataError(f"language pair '{text}': source and target are the same")
    return known[0]
