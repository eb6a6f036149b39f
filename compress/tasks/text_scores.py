"""chrF++ and BLEU from statistics of single sentences, so that the score of any choice of rows is a sum away.

The scores are sacrebleu's corpus scores (Post 2018, arXiv:1804.08771) with one reference; its signature says how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.errors import require

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

Float64 = NDArray[np.float64]

CHARACTER_ORDER, WORD_ORDER, BETA = 6, 2, 2
BLEU_ORDER = 4
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
# Languages that do not part their words by spaces.  Japanese and Korean have tokenizers in sacrebleu that need mecab:
# a score must not depend on what happens to be installed, so that their characters count.
_CHARACTER_LANGUAGES = frozenset({"ja", "ko", "th", "km", "my", "bo"})


def require_sacrebleu() -> None:
    """Raise MissingExtra without sacrebleu."""
    require("sacrebleu", "scoring translations by chrF++ and BLEU", "text")


def bleu_tokenizer(language: str) -> str:
    """sacrebleu's name of the tokenizer with which BLEU of a target language is computed."""
    if language in {"zh", "zh-Hant", "yue"}:
        return "zh"
    return "char" if language in _CHARACTER_LANGUAGES else "13a"


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> Float64:
    """[N, 24]: of each of eight n-gram orders (characters 1 … 6, words 1 … 2) how many the hypothesis has, the
    reference has, and both have.  Popović 2017, "chrF++: words helping character n-grams"."""
    return np.array(
        [_chrf_row(hypothesis, reference) for hypothesis, reference in zip(hypotheses, references, strict=True)],
        dtype=np.float64,
    ).reshape(len(hypotheses), 3 * (CHARACTER_ORDER + WORD_ORDER))


def chrf_score(statistics: Float64) -> Float64:
    """chrF2++ in 0 … 100 of summed statistics [..., 24] → [...].

    The F-score, recall weighing BETA times as much, of precision and recall averaged over the orders that both sides
    have n-grams of.
    """
    precision = np.zeros(statistics.shape[:-1])
    recall, orders = np.zeros_like(precision), np.zeros_like(precision)
    for order in range(CHARACTER_ORDER + WORD_ORDER):
        ours, theirs, common = (statistics[..., 3 * order + place] for place in range(3))
        both = (ours > 0) & (theirs > 0)
        precision += np.where(both, common / np.where(both, ours, 1), 0)
        recall += np.where(both, common / np.where(both, theirs, 1), 0)
        orders += both
    precision /= np.maximum(orders, 1)
    recall /= np.maximum(orders, 1)
    weighted = BETA**2 * precision + recall
    score: Float64 = 100 * ((1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1))
    return score


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Float64:
    """[N, 10]: the hypothesis's and the reference's tokens, then of orders 1 … 4 the n-grams of the hypothesis that
    the reference has too, then all that the hypothesis has.  language: of the target.  Raises MissingExtra."""
    metric = _bleu(language, effective_order=True)  # for single sentences; the counts do not depend on it
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        found = metric.sentence_score(hypothesis, [reference])
        rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return np.array(rows, dtype=np.float64).reshape(len(hypotheses), 2 + 2 * BLEU_ORDER)


def bleu_score(statistics: Float64) -> Float64:
    """BLEU in 0 … 100 of summed statistics [..., 10] → [...].

    Papineni et al. 2002, doi:10.3115/1073083.1073135, an order without a match smoothed as in mteval-v13a: its
    precision is half, then a quarter, … of one match.
    """
    ours, theirs = statistics[..., 0], statistics[..., 1]
    common, total = statistics[..., 2 : 2 + BLEU_ORDER], statistics[..., 2 + BLEU_ORDER :]
    scored = (total > 0).all(axis=-1) & (common > 0).any(axis=-1)
    halvings = np.cumsum(common == 0, axis=-1)
    matches = np.where(common == 0, 0.5**halvings, common)
    precisions = 100 * matches / np.where(total > 0, total, 1)
    brevity = np.where(ours < theirs, np.exp(1 - theirs / np.where(ours > 0, ours, 1)), 1)
    score: Float64 = np.where(scored, brevity * np.exp(np.log(precisions).mean(axis=-1)), 0)
    return score


def chrf_signature() -> str:
    """sacrebleu's signature of the score above.  Raises MissingExtra."""
    require_sacrebleu()
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF(word_order=WORD_ORDER)
    metric.corpus_score(["text"], [["text"]])  # the signature tells the number of references: it wants to have seen one
    return str(metric.get_signature())


def bleu_signature(language: str) -> str:
    """sacrebleu's signature of BLEU for a target language.  Raises MissingExtra."""
    metric = _bleu(language, effective_order=False)
    metric.corpus_score(["text"], [["text"]])
    return str(metric.get_signature())


def _bleu(language: str, effective_order: bool) -> BLEU:
    require_sacrebleu()
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=bleu_tokenizer(language), effective_order=effective_order)


def _chrf_row(hypothesis: str, reference: str) -> list[int]:
    row: list[int] = []
    for ours, theirs in zip(_ngrams(hypothesis), _ngrams(reference), strict=True):
        # An order of which the reference has nothing says nothing, and the hypothesis's do not count.
        row += [ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()]
    return row


def _ngrams(text: str) -> list[Counter[str]]:
    """n-grams of characters without white space, then of words, punctuation at a word's end or start cut off."""
    words: list[str] = []
    for word in text.split():
        if len(word) > 1 and word[-1] in _PUNCTUATION:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in _PUNCTUATION:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    letters = "".join(text.split())
    counts = [
        Counter(letters[start : start + order] for start in range(len(letters) - order + 1))
        for order in range(1, CHARACTER_ORDER + 1)
    ]
    counts += [
        Counter(" ".join(words[start : start + order]) for start in range(len(words) - order + 1))
        for order in range(1, WORD_ORDER + 1)
    ]
    return counts
