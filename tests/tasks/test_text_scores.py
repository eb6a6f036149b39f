"""chrF++ and BLEU from sentence statistics are sacrebleu's corpus scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from compress.data.parallel import open_parallel
from compress.errors import MissingExtra
from compress.tasks.text_scores import (
    bleu_score,
    bleu_signature,
    bleu_statistics,
    bleu_tokenizer,
    chrf_score,
    chrf_signature,
    chrf_statistics,
)

Texts = st.text(alphabet="abc dé.,'语言 ", max_size=25)
References = Texts.filter(lambda text: bool(text.strip()))
Corpora = st.lists(st.tuples(Texts, References), min_size=1, max_size=6)


def both(hypotheses: list[str], references: list[str], language: str) -> tuple[float, float]:
    chrf = chrf_score(chrf_statistics(hypotheses, references).sum(axis=0))
    return float(chrf), float(bleu_score(bleu_statistics(hypotheses, references, language).sum(axis=0)))


def sacrebleus(hypotheses: list[str], references: list[str], language: str) -> tuple[float, float]:
    bleu = BLEU(tokenize=bleu_tokenizer(language))
    return (
        CHRF(word_order=2).corpus_score(hypotheses, [references]).score,
        bleu.corpus_score(hypotheses, [references]).score,
    )


@settings(max_examples=300, deadline=None)
@given(Corpora, st.sampled_from(["fr", "zh", "ja"]))
def test_scores_are_sacrebleus(corpus: list[tuple[str, str]], language: str) -> None:
    hypotheses, references = [one for one, _ in corpus], [two for _, two in corpus]
    assert both(hypotheses, references, language) == pytest.approx(
        sacrebleus(hypotheses, references, language), rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("language", ["fr", "de", "zh", "ja", "ko", "ar", "ru"])
def test_scores_of_real_sentences_are_sacrebleus_in_any_choice_of_rows(language: str) -> None:
    references = open_parallel("demo").texts(language)
    # Each text with its last third taken from the next one.
    hypotheses = [
        one[: 2 * len(one) // 3] + two[2 * len(two) // 3 :]
        for one, two in zip(references, references[1:] + references[:1], strict=True)
    ]
    chrf, bleu = chrf_statistics(hypotheses, references), bleu_statistics(hypotheses, references, language)
    draws = np.random.default_rng(0).integers(0, len(references), (3, len(references)))
    for rows in [np.arange(len(references)), *draws]:
        expected = sacrebleus([hypotheses[row] for row in rows], [references[row] for row in rows], language)
        assert min(expected) > 20
        found = float(chrf_score(chrf[rows].sum(axis=0))), float(bleu_score(bleu[rows].sum(axis=0)))
        assert found == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(st.lists(References, min_size=1, max_size=5))
def test_the_reference_itself_scores_a_hundred(references: list[str]) -> None:
    statistics = chrf_statistics(references, references)
    assert chrf_score(statistics.sum(axis=0)) == pytest.approx(100)
    assert (chrf_score(chrf_statistics([""] * len(references), references).sum(axis=0))) == 0


def test_by_hand() -> None:
    # Characters: a, b, c against a, b, d: 2 of 3; ab, bc against ab, bd: 1 of 2; abc against abd: 0 of 1.  Words: 0 of
    # 1, and no pair of words.  Precision and recall are the mean of the four: (2/3 + 1/2 + 0 + 0) / 4 = 7/24.
    assert chrf_score(chrf_statistics(["abc"], ["abd"])[0]) == pytest.approx(700 / 24)
    # Tokens a b c d e against a b c d f: 4/5, 3/4, 2/3, 1/2; the product is 1/5, and its fourth root 0.66874.
    assert bleu_score(bleu_statistics(["a b c d e"], ["a b c d f"], "fr")[0]) == pytest.approx(100 * 0.2**0.25)
    # Half as long: brevity exp(1 − 8/4).
    assert bleu_score(bleu_statistics(["a b c d"], ["a b c d e f g h"], "fr")[0]) == pytest.approx(100 * np.exp(-1))


def test_signatures_say_how() -> None:
    assert chrf_signature().startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:")
    for language, tokenizer in {
        "fr": "13a",
        "zh": "zh",
        "zh-Hant": "zh",
        "ja": "char",
        "ko": "char",
        "th": "char",
    }.items():
        signature = bleu_signature(language)
        assert signature.startswith(f"nrefs:1|case:mixed|eff:no|tok:{tokenizer}|smooth:exp|version:")


def test_without_sacrebleu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.errors.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"chrF\+\+ and BLEU needs an extra: .*\[text\]"):
        bleu_statistics(["a"], ["a"], "fr")
