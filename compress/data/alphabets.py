"""The letters that languages are written with, and what is written between them: by it, pieces of words are judged.

Of languages in the Latin and Cyrillic scripts the letters are listed, since many languages share these scripts; of all
others each letter, mark and digit of their scripts counts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

from compress.data.languages import LANGUAGES
from compress.data.scripts import script_of

_LATIN = "abcdefghijklmnopqrstuvwxyz"
_RUSSIAN = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"

# Small letters; their capitals count too.
ALPHABETS: dict[str, str] = {
    "cs": f"{_LATIN}áčďéěíňóřšťúůýž",
    "de": f"{_LATIN}äöüß",
    "en": _LATIN,
    "es": f"{_LATIN}áéíñóúüªº",
    "fil": f"{_LATIN}ñ",
    "fr": f"{_LATIN}àâæçéèêëîïôœùûüÿ",
    "id": _LATIN,
    "it": f"{_LATIN}àèéìíîòóùúªº",
    "kk": f"{_RUSSIAN}әғқңөұүһі",
    "mn": f"{_RUSSIAN}өү",
    "ms": _LATIN,
    "nl": f"{_LATIN}áäéèëíïóöúü",
    "pl": f"{_LATIN}ąćęłńóśźż",
    "pt": f"{_LATIN}àáâãçéêíòóôõúüªº",
    "ru": _RUSSIAN,
    "sw": _LATIN,
    "tr": f"{_LATIN}çğıİöşüâîû",
    "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "vi": f"{_LATIN}àảãáạăằẳẵắặâầẩẫấậđèẻẽéẹêềểễếệìỉĩíịòỏõóọôồổỗốộơờởỡớợùủũúụưừửữứựỳỷỹýỵ",
}

# First words of Unicode names, beside the script's own, that its letters, marks and digits have.
_NAMES = {
    "Arabic": ("ARABIC", "ARABIC-INDIC", "EXTENDED"),
    "Han": ("CJK", "IDEOGRAPHIC"),
    "Hiragana": ("HIRAGANA", "KATAKANA-HIRAGANA"),
    "Katakana": ("KATAKANA", "KATAKANA-HIRAGANA"),
}
_WIDE = range(0x3000, 0x3040), range(0xFF00, 0xFFF0)  # punctuation and full-width forms beside these scripts
_WIDE_SCRIPTS = frozenset({"Han", "Hangul", "Hiragana", "Katakana"})
# Latin-1 signs, general punctuation, raised digits, currencies, letterlike signs such as ™.
_SIGNS = (
    range(0x20, 0x7F),
    range(0xA0, 0xC0),
    range(0x2010, 0x2060),
    range(0x2070, 0x2090),
    range(0x20A0, 0x20C1),
    range(0x2100, 0x2150),
)


# A word or its part, with the space before it or an apostrophe; a digit; signs as they stand between words.
_PROSE = re.compile(r" ?(['’-]?[^\W\d_]+['’.-]?|[^\w\s]{1,3}|[0-9])")


def is_prose(text: str) -> bool:
    """Whether a piece of text is as prose has it, and not as only programs do: 'getValue', '");'."""
    return _PROSE.fullmatch(text) is not None and not any(
        one.islower() and other.isupper() for one, other in pairwise(text)
    )


class Writing:
    """What some languages are written with."""

    def __init__(self, languages: Iterable[str]) -> None:
        """languages: codes of `LANGUAGES`."""
        codes = list(languages)
        small = "".join(ALPHABETS.get(code, "") for code in codes)
        self.letters = frozenset(small + small.upper() + "ẞ" * ("ß" in small))
        # All scripts of the languages, and those of which every letter counts.
        self.scripts = frozenset(script for code in codes for script in LANGUAGES[code].scripts)
        self.whole = frozenset(script for code in codes if code not in ALPHABETS for script in LANGUAGES[code].scripts)
        self._names = frozenset(name for script in self.whole for name in _NAMES.get(script, (script.upper(),)))
        self._signs = _SIGNS + (_WIDE if self.whole & _WIDE_SCRIPTS else ())
        self._known: dict[str, bool] = {}

    def writes(self, text: str) -> bool:
        """Whether each character is a letter of one of the languages, or a digit, sign or space."""
        return all(self._writes(character) for character in text)

    def spells(self, character: str) -> bool:
        """Whether a character is at least of a script of the languages: foreign names in their texts have such."""
        return self._writes(character) or script_of(character) in self.scripts

    def _writes(self, character: str) -> bool:
        known = self._known.get(character)
        if known is None:
            known = self._known[character] = self._found(character)
        return known

    def _found(self, character: str) -> bool:
        if character in self.letters:
            return True
        if unicodedata.name(character, " ").split(" ")[0] in self._names:
            return True
        if character in "\t\n\r":
            return True
        place = ord(character)
        return not character.isalpha() and any(place in signs for signs in self._signs)
