"""Translation: how well something translates between languages.

One class, though long: what is run, scored and compared are the same rows, read once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from compress.data.pairs import parse_pair
from compress.data.parallel import ParallelRow, digest_of, open_parallel, parse_parallel
from compress.data.prompts import Shots
from compress.errors import DataError, ModelError
from compress.tasks.base import Scores
from compress.tasks.bootstrap import Resampled, Resampling, mean_of, resampling
from compress.tasks.comet import comet_scores, require_comet
from compress.tasks.text_failures import FAILURES, failures_of, judged
from compress.tasks.text_scores import (
    bleu_score,
    bleu_signature,
    bleu_statistics,
    chrf_score,
    chrf_signature,
    chrf_statistics,
    require_sacrebleu,
)
from compress.tasks.text_sums import likelihood_sums, ratio_of_sums, shares
from compress.tasks.translates import Scored, Translated, Translates
from compress.tasks.translation_outputs import Outputs, PairOutputs


@dataclass(frozen=True)
class Example:
    """A text and its translation, `row` its place in the whole set."""

    source_language: str
    target_language: str
    source: str
    reference: str
    row: int

    @property
    def pair(self) -> str:
        return f"{self.source_language}-{self.target_language}"


@dataclass(frozen=True)
class Translation:
    """A job with parallel text.

    pairs                    "en-fr", "zh-Hant-en", …; each once.
    dataset                  of the scores: demo, parquet:PATH, tsv:PATH or hf:NAME, each with [first:end] if wanted.
    calibration_dataset      of the passes, written alike.
    calibration_num_samples  at most so many texts of it, drawn by calibration_seed, evenly of all pairs; None: all.
    num_likelihood           the first rows of each pair, so many, are scored by likelihood; None: all.
    num_translations         the first rows of each pair, so many, are translated; None: all.
    shots                    the rows that are shown to a model as examples, written alike.  If they lie in the same set
                             as `dataset`, they are not scored; nor do they calibrate.
    comet                    a model for COMET ('Unbabel/wmt22-comet-da'); None: no COMET.
    """

    name: ClassVar[str] = "translation"

    pairs: tuple[str, ...]
    dataset: str = "demo[72:]"
    calibration_dataset: str = "demo[3:72]"
    calibration_num_samples: int | None = None
    calibration_seed: int = 0
    num_likelihood: int | None = None
    num_translations: int | None = None
    shots: str = "demo[0:3]"
    comet: str | None = None

    def __post_init__(self) -> None:
        """Raises DataError for what is no pair, no pair at all, one that comes twice, or a number below 0."""
        if not self.pairs:
            raise DataError("translation needs at least one language pair, such as en-fr")
        for pair in self.pairs:
            parse_pair(pair)
            if self.pairs.count(pair) > 1:
                raise DataError(f"language pair '{pair}' is listed twice")
        for name in ("num_likelihood", "num_translations", "calibration_num_samples"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise DataError(f"translation: {name} is {value}: write a number of rows, or null for all")

    @property
    def languages(self) -> tuple[str, ...]:
        """All codes of the pairs, in the order in which they first come."""
        return tuple(dict.fromkeys(code for pair in self.pairs for code in parse_pair(pair)))

    @cached_property
    def _evaluation(self) -> Mapping[str, tuple[Example, ...]]:
        return self._read(self.dataset)

    def examples(self, pair: str) -> tuple[Example, ...]:
        """All rows of a pair that may be scored; both likelihood and translation take the first of them.

        Raises DataError if the set cannot be used.
        """
        return self._evaluation[pair]

    def calibration(self) -> tuple[Example, ...]:
        """The texts to calibrate with: as many of each pair, give or take one, the pairs taking turns.

        A pair that has fewer rows gives all that it has.  Raises DataError if the set cannot be used.
        """
        drawn = []
        for place, (pair, rows) in enumerate(self._read(self.calibration_dataset).items()):
            wanted = len(rows)
            if self.calibration_num_samples is not None:
                each, more = divmod(self.calibration_num_samples, len(self.pairs))
                wanted = min(wanted, each + (place < more))
            drawn.append(random.Random(f"{self.calibration_seed} {pair}").sample(rows, wanted))
        longest = max(map(len, drawn))
        return tuple(examples[turn] for turn in range(longest) for examples in drawn if turn < len(examples))

    def few_shots(self) -> dict[str, Shots]:
        """What a Prompt shows as examples, by pair: the rows of `shots`.  Raises DataError if they cannot be used."""
        rows = open_parallel(self.shots)
        return {pair: tuple(rows.pairs(*parse_pair(pair))) for pair in self.pairs}

    def fingerprints(self) -> dict[str, str]:
        """sha256 of the data as used: {'evaluation': …, 'calibration': …}."""
        return {"evaluation": self._data, "calibration": texts_sha256(self.calibration())}

    def evaluation_fingerprint(self) -> str:
        """sha256 of the evaluation data, as used."""
        return self._data

    def signatures(self) -> dict[str, str]:
        """sacrebleu's signatures: {'chrf': …, 'bleu.en-fr': …, …}.  Raises MissingExtra."""
        targets = {pair: parse_pair(pair)[1] for pair in self.pairs}
        return {"chrf": chrf_signature()} | {f"bleu.{pair}": bleu_signature(code) for pair, code in targets.items()}

    def run(self, translator: Translates, on_pair: Callable[[str], None] | None = None) -> Outputs:
        """What a translator makes of the data; on_pair is told each pair before it begins.

        Raises MissingExtra before anything runs, if what will score the outputs is not installed; DataError if the set
        cannot be used; ModelError for answers that are not numbers or not as many as the questions.
        """
        if self.num_translations != 0:
            require_sacrebleu()
            if self.comet is not None:
                require_comet()
        outputs = {}
        for pair in self._evaluation:
            if on_pair is not None:
                on_pair(pair)
            outputs[pair] = self._run_pair(translator, pair)
        return Outputs(self._data, outputs)

    def score(self, outputs: Outputs) -> Scores:
        """Scores of outputs on their own, overall and, with the suffix '.en-fr', of each pair.

        nll_per_token, nll_per_char  nats of −log p a token of the reference, and a character; overall: of all pairs'
                                     tokens together.
        chrf, bleu, comet            corpus chrF++ and BLEU, 0 … 100, and the mean of COMET; overall: mean of the pairs.
        empty, repeated, …           shares of translations with such a failure (text_failures.py); Wilson.

        Intervals are of 1000 bootstrap resamples of the rows, in which the pairs share their rows.
        """
        scores = {name: figure.figure(count) for name, (figure, count) in self._measured(outputs).items()}
        return scores | self._failures(outputs)

    def compare(self, outputs: Outputs, reference: Outputs) -> Scores:
        """Against the float model's outputs on the same data, overall and of each pair; a loss above 0 is worse.

        nll_per_token_lost, nll_per_char_lost  outputs − reference, in nats.
        chrf_lost, bleu_lost, comet_lost       reference − outputs.
        chrf_ratio                             outputs / reference; left out where the reference has 0.
        identical                              share of translations that are the same; Wilson.

        Intervals are paired: each resample draws the same rows of both.  Raises DataError for outputs of other data.
        """
        ours, theirs = self._measured(outputs), self._measured(reference)
        if outputs.data != reference.data or _rows_of(outputs) != _rows_of(reference):
            raise DataError("the outputs are of other data than those they are compared to: run both again")
        scores = {}
        for name, (figure, count) in ours.items():
            before, (score, dot, pair) = theirs[name][0], name.partition(".")
            lost = figure - before if score.startswith("nll") else before - figure
            scores[f"{score}_lost{dot}{pair}"] = lost.figure(count)
            if score == "chrf" and before.value > 0:
                scores[f"chrf_ratio{dot}{pair}"] = figure.over(before).figure(count)
        same = {
            pair: sum(map(str.__eq__, found.hypotheses, reference.pairs[pair].hypotheses))
            for pair, found in outputs.pairs.items()
        }
        counts = {pair: len(found.hypotheses) for pair, found in outputs.pairs.items()}
        return scores | shares("identical", same, counts)

    @cached_property
    def _data(self) -> str:
        return texts_sha256(
            [example for pair in self.pairs for example in self.examples(pair)],
            f"{self.num_likelihood} {self.num_translations}",
        )

    def _read(self, dataset: str) -> dict[str, tuple[Example, ...]]:
        parallel, shots, spec = open_parallel(dataset), parse_parallel(self.shots), parse_parallel(dataset)
        shown: range = range(0)
        if (shots.kind, shots.location) == (spec.kind, spec.location):
            shown = open_parallel(self.shots).rows
        found = {}
        for pair in self.pairs:
            source, target = parse_pair(pair)
            rows = [row for row in parallel.aligned(source, target) if row.number not in shown]
            if not rows:
                raise DataError(
                    f"dataset '{dataset}': all its rows are shots ('{self.shots}'): none is left for {pair}"
                )
            found[pair] = tuple(_example(row, source, target) for row in rows)
        return found

    def _run_pair(self, translator: Translates, pair: str) -> PairOutputs:
        source, target = parse_pair(pair)
        scored, translated = self._scored(pair), self._translated(pair)
        likelihoods: Sequence[Scored] = ()
        translations: Sequence[Translated] = ()
        if scored:
            sources, references = [one.source for one in scored], [one.reference for one in scored]
            likelihoods = translator.log_likelihood(sources, references, source, target)
        if translated:
            translations = translator.translate([one.source for one in translated], source, target)
        for what, answers, asked in (
            ("likelihoods", likelihoods, scored),
            ("translations", translations, translated),
        ):
            if len(answers) != len(asked):
                raise ModelError(f"{pair}: the model gave {len(answers)} {what} for {len(asked)} texts")
        for example, likelihood in zip(scored, likelihoods, strict=True):
            if not math.isfinite(likelihood.nats) or likelihood.num_tokens < 1:
                raise ModelError(
                    f"{pair}, row {example.row}: the likelihood of the reference is {likelihood.nats} nats in "
                    f"{likelihood.num_tokens} tokens: the model's outputs are not finite numbers"
                )
        return PairOutputs(
            rows=tuple(example.row for example in scored),
            nats=tuple(float(likelihood.nats) for likelihood in likelihoods),
            num_tokens=tuple(int(likelihood.num_tokens) for likelihood in likelihoods),
            num_chars=tuple(len(example.reference) for example in scored),
            translated=tuple(example.row for example in translated),
            hypotheses=tuple(translation.text for translation in translations),
            finished=tuple(bool(translation.finished) for translation in translations),
        )

    def _scored(self, pair: str) -> tuple[Example, ...]:
        return self.examples(pair)[: self.num_likelihood]

    def _translated(self, pair: str) -> tuple[Example, ...]:
        return self.examples(pair)[: self.num_translations]

    def _measured(self, outputs: Outputs) -> dict[str, tuple[Resampled, int]]:
        """By name: each figure with its resamples, and the number of rows behind it; the overall ones first."""
        if outputs.data != self._data or set(outputs.pairs) != set(self.pairs):
            raise DataError("the outputs are of other data than the task's: run the model again")
        by_pair: dict[str, dict[str, tuple[Resampled, int]]] = {pair: {} for pair in self.pairs}
        overall: dict[str, tuple[Resampled, int]] = {}
        if self.num_likelihood != 0:
            draws = resampling(row for found in outputs.pairs.values() for row in found.rows)
            sums = {pair: likelihood_sums(draws, outputs.pairs[pair]) for pair in self.pairs}
            counts = {pair: len(outputs.pairs[pair].rows) for pair in self.pairs}
            for name, per in (("nll_per_token", 1), ("nll_per_char", 2)):
                overall[name] = ratio_of_sums(sums.values(), per), sum(counts.values())
                for pair in self.pairs:
                    by_pair[pair][name] = ratio_of_sums([sums[pair]], per), counts[pair]
        if self.num_translations != 0:
            draws = resampling(row for found in outputs.pairs.values() for row in found.translated)
            for pair in self.pairs:
                count = len(outputs.pairs[pair].translated)
                measured = self._text_scores(draws, pair, outputs.pairs[pair])
                by_pair[pair] |= {name: (figure, count) for name, figure in measured.items()}
            for name in measured:
                parts = [by_pair[pair][name] for pair in self.pairs]
                overall[name] = mean_of(figure for figure, _ in parts), sum(count for _, count in parts)
        return overall | {
            f"{name}.{pair}": figure for pair, figures in by_pair.items() for name, figure in figures.items()
        }

    def _text_scores(self, draws: Resampling, pair: str, found: PairOutputs) -> dict[str, Resampled]:
        examples = self._translated(pair)
        references = [example.reference for example in examples]
        statistics = {
            "chrf": (chrf_score, chrf_statistics(found.hypotheses, references)),
            "bleu": (bleu_score, bleu_statistics(found.hypotheses, references, parse_pair(pair)[1])),
        }
        scores = {name: draws.scored(found.translated, rows, score) for name, (score, rows) in statistics.items()}
        if self.comet is not None:
            sources = [example.source for example in examples]
            points = comet_scores(self.comet, sources, found.hypotheses, references)
            rows = np.array([[point, 1.0] for point in points])
            scores["comet"] = ratio_of_sums([draws.sums(found.translated, rows)], 1)
        return scores

    def _failures(self, outputs: Outputs) -> Scores:
        if self.num_translations == 0:
            return {}
        by_name: dict[str, dict[str, int]] = {name: {} for name in FAILURES}
        for pair, found in outputs.pairs.items():
            target = parse_pair(pair)[1]
            each = [
                failures_of(example.source, example.reference, hypothesis, finished, target)
                for example, hypothesis, finished in zip(
                    self._translated(pair), found.hypotheses, found.finished, strict=True
                )
            ]
            for name in judged(target):
                by_name[name][pair] = sum(name in failures for failures in each)
        counts = {pair: len(found.hypotheses) for pair, found in outputs.pairs.items()}
        scores: Scores = {}
        for name, failed in by_name.items():
            scores |= shares(name, failed, {pair: counts[pair] for pair in failed})
        return scores


def _example(row: ParallelRow, source: str, target: str) -> Example:
    return Example(source, target, row.source, row.target, row.number)


def texts_sha256(examples: Sequence[Example], *more: str) -> str:
    return digest_of(
        [*more, *(text for one in examples for text in (one.pair, str(one.row), one.source, one.reference))]
    )


def _rows_of(outputs: Outputs) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    return {pair: (found.rows, found.translated) for pair, found in outputs.pairs.items()}
