"""What counts as written in some languages, and what as prose."""

from __future__ import annotations

import pytest

from compress.data.alphabets import ALPHABETS, Writing, is_prose
from compress.data.languages import LANGUAGES
from compress.data.parallel import open_parallel


@pytest.mark.parametrize("language", open_parallel("demo").languages)
def test_a_language_writes_its_own_text(language: str) -> None:
    writing = Writing([language, "en"])
    for text in open_parallel("demo").texts(language):
        assert writing.writes(text), [character for character in text if not writing.writes(character)]


def test_letters_of_other_languages_do_not_count() -> None:
    writing = Writing(["de", "fr"])
    assert writing.writes(" Straße, STRAẞE: «déjà vu» – 3 €")
    assert not any(writing.writes(character) for character in "ñłøşжΩ日★😀")
    assert writing.spells("ł")
    assert not writing.spells("ж")


def test_scripts_without_a_list_count_whole() -> None:
    writing = Writing(["ja", "hi"])
    assert writing.writes("カーテン、桜。「東京」１２")
    assert writing.writes("नमस्ते ०१")
    assert not writing.writes("a")
    assert not Writing(["hi"]).writes("「")


def test_every_latin_and_cyrillic_language_has_an_alphabet() -> None:
    listed = {code for code, language in LANGUAGES.items() if language.scripts in (("Latin",), ("Cyrillic",))}
    assert set(ALPHABETS) == listed
    for letters in ALPHABETS.values():
        assert len(set(letters)) == len(letters)


def test_prose_is_told_from_programs() -> None:
    for text in (" the", "l’", "'s", " Mr.", "-être", ".", " «", "7", "USA"):
        assert is_prose(text), text
    for text in ("getValue", '"));\n', "x1", " a b", "foo_bar", "//////"):
        assert not is_prose(text), text
