"""Prompts are data: what is filled in, what is refused, and that they survive their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.data.prompts import PROMPT, Prompt, read_prompt
from compress.errors import ArtefactError, DataError

LANGUAGES = {"en": "English", "fr": "French"}
FEW_SHOT = Prompt(
    LANGUAGES,
    template="{examples}{source_language}: {source}\n{target_language}:",
    example="{source_language}: {source}\n{target_language}: {target}\n\n",
    shots={"en-fr": (("One.", "Un."), ("Two.", "Deux."))},
    separator=" ",
    stop=("\n",),
)


def test_shots_come_before_the_text() -> None:
    expected = "English: One.\nFrench: Un.\n\nEnglish: Two.\nFrench: Deux.\n\nEnglish: Three.\nFrench:"
    assert FEW_SHOT.render("Three.", "en", "fr") == expected


def test_braces_in_a_text_mean_themselves() -> None:
    assert Prompt(LANGUAGES, "<{source}>").render("{examples} {target_language}", "en", "fr") == (
        "<{examples} {target_language}>"
    )


def test_unknown_languages_and_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="unknown language 'fe': known: en, fr"):
        FEW_SHOT.render("x", "en", "fe")
    with pytest.raises(DataError, match="unknown language pair 'fr-en'"):
        FEW_SHOT.render("x", "fr", "en")


def test_a_prompt_survives_its_file(tmp_path: Path) -> None:
    marked = Prompt(LANGUAGES, source_tokens={"fr": (">>fra<<",)}, target_tokens={"fr": ("fra_Latn",)}, add_bos=False)
    for prompt in (FEW_SHOT, marked):
        (tmp_path / PROMPT).write_text(prompt.to_json(), encoding="utf-8")
        assert read_prompt(tmp_path) == prompt


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"languages": {}, "shots": {"en-fr": [1]}}'])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / PROMPT).write_text(content, encoding="utf-8")
    with pytest.raises(ArtefactError, match="damaged"):
        read_prompt(tmp_path)
