"""What a teacher writes: translations of a corpus, kept in shards as they come, and which are fit to learn from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from compress.errors import ModelError
from compress.files import write_text
from compress.tasks.translates import Translates
from compress.tasks.translation import Example

ABOUT = "about.json"


class Writer(Protocol):
    """A teacher of sequences, opened when it is first needed.  sha256: of all that decides what it writes."""

    @property
    def sha256(self) -> str: ...

    def open(self) -> Translates: ...


@dataclass(frozen=True)
class Written:
    """A teacher's translation of an example's source; nats_per_token: −log p of it, as the teacher holds it."""

    example: Example
    text: str
    nats_per_token: float
    finished: bool


@dataclass(frozen=True)
class Filter:
    """Which translations are fit to learn from; see `passes.distill_sequence`."""

    keep: float = 1.0
    max_length_ratio: float = 3.0


def written_by(
    writer: Writer,
    corpus: Sequence[Example],
    directory: Path,
    shard_size: int,
    settings: Mapping[str, Any],
    progress: Callable[..., Any],
) -> list[Written]:
    """The teacher's translations of the corpus: from the shards in `directory`; where one is missing, by the teacher.

    Raises ModelError for a directory that another teacher, corpus or setting filled.
    """
    shards = [list(shard) for shard in sharded(corpus, shard_size)]
    texts = [[example.pair, example.source] for example in corpus]
    about = json.loads(json.dumps({"teacher": writer.sha256, "texts": texts, "shard_size": shard_size, **settings}))
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / ABOUT).is_file():
        if json.loads((directory / ABOUT).read_text(encoding="utf-8")) != about:
            raise ModelError(f"{directory}: holds what another teacher, text or setting gave: name another directory")
    else:
        write_text(directory / ABOUT, json.dumps(about, ensure_ascii=False))
    translator: Translates | None = None
    written: list[Written] = []
    for number, shard in enumerate(progress(shards, "the teacher translates", len(shards))):
        file = directory / f"shard-{number:06d}.json"
        if not file.is_file():
            translator = translator or writer.open()
            write_text(file, json.dumps(translated(translator, shard), ensure_ascii=False))
        rows = json.loads(file.read_text(encoding="utf-8"))
        written += [Written(example, *row) for example, row in zip(shard, rows, strict=True)]
    return written


def sharded(corpus: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """The corpus in parts of at most `size` texts, each of one language pair, in its order."""
    for pair in dict.fromkeys(example.pair for example in corpus):
        own = [example for example in corpus if example.pair == pair]
        for start in range(0, len(own), size):
            yield own[start : start + size]


def translated(translator: Translates, shard: Sequence[Example]) -> list[tuple[str, float, bool]]:
    """(text, nats a token, whether it came to an end) of each example, all of one pair."""
    first, sources = shard[0], [example.source for example in shard]
    languages = (first.source_language, first.target_language)
    found = translator.translate(sources, *languages)
    scores = translator.log_likelihood(sources, [each.text for each in found], *languages)
    return [
        (each.text, score.nats / max(1, score.num_tokens), each.finished)
        for each, score in zip(found, scores, strict=True)
    ]


def choose(written: Sequence[Written], fit: Filter) -> list[Example]:
    """The examples with the teacher's text as the reference, in their order, but for those that are not fit: empty, cut
    off, of another length than the pair's are, or not among the likeliest."""
    chosen: set[int] = set()
    for pair in dict.fromkeys(each.example.pair for each in written):
        own = [number for number, each in enumerate(written) if each.example.pair == pair]
        ended = [
            n for n in own if written[n].finished and written[n].text.strip() and written[n].example.source.strip()
        ]
        if not ended:
            continue
        ratios = {n: len(written[n].text) / len(written[n].example.source) for n in ended}
        middle = median(ratios.values())
        like = [n for n in ended if middle / fit.max_length_ratio < ratios[n] < middle * fit.max_length_ratio]
        likeliest = sorted(like, key=lambda n: (written[n].nats_per_token, n))
        chosen |= set(likeliest[: max(1, round(fit.keep * len(likeliest)))])
    return [replace(each.example, reference=each.text) for number, each in enumerate(written) if number in chosen]
