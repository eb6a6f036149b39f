"""ParallelText: the same sentences in several languages, read from where they lie.

    open_parallel("parquet:ntrex.parquet[800:900]").pairs("en", "fr")

A set has a column a language, named by its code, and a row a sentence.  Only the columns that are asked for are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compress.data.spec import DatasetSpec, Grammar, parquet_files
from compress.errors import DataError, unknown

PARALLEL = Grammar(
    "parallel text",
    ("demo", "parquet", "tsv", "hf"),
    "demo, parquet:text.parquet, tsv:text.tsv or hf:ORG/NAME:validation",
    lambda path: f"write {'tsv' if path.endswith('.tsv') else 'parquet'}:{path}",
)
PHRASEBOOK = Path(__file__).with_name("phrasebook.tsv")


class ParallelSource(Protocol):
    """A whole set, without its slice."""

    def languages(self) -> tuple[str, ...]:
        """The codes of its columns, in their order."""
        ...

    def num_rows(self) -> int: ...

    def columns(self, languages: Sequence[str], start: int, stop: int) -> list[list[str]]:
        """The cells of each language in the rows from `start` to before `stop`; '' where a cell has nothing."""
        ...


@dataclass(frozen=True)
class ParallelRow:
    """One sentence in two languages; number is its row in the whole set, from 0."""

    number: int
    source: str
    target: str


@dataclass(frozen=True)
class ParallelText:
    """Sentences in several languages.

    text    as the recipe writes it.
    rows    the rows of `data` that are used.
    """

    text: str
    data: ParallelSource
    rows: range

    @property
    def languages(self) -> tuple[str, ...]:
        return self.data.languages()

    def __len__(self) -> int:
        """The number of rows, those with empty cells too."""
        return len(self.rows)

    def pairs(self, source: str, target: str) -> list[tuple[str, str]]:
        """(source, target) of every row that has text in both languages.

        Cells are stripped.  Rows in which either side is empty are skipped (`num_skipped` tells how many).
        Raises DataError for a language that the set lacks, or if no row is left.
        """
        return [(row.source, row.target) for row in self.aligned(source, target)]

    def aligned(self, source: str, target: str) -> list[ParallelRow]:
        """`pairs`, each with the number of its row."""
        sources, targets = self._columns((source, target))
        rows = [
            ParallelRow(number, one, two)
            for number, one, two in zip(self.rows, sources, targets, strict=True)
            if one and two
        ]
        if not rows:
            raise DataError(
                f"dataset '{self.text}': none of its {len(self.rows)} rows has text in both '{source}' and '{target}'"
            )
        return rows

    def num_skipped(self, source: str, target: str) -> int:
        """The rows that `pairs` leaves out because a cell is empty."""
        return len(self.rows) - len(self.aligned(source, target))

    def texts(self, language: str) -> list[str]:
        """All texts of one language, the empty ones left out.  Raises DataError for a language that the set lacks."""
        return [text for text in self._columns((language,))[0] if text]

    def fingerprint(self, languages: Sequence[str]) -> str:
        """sha256 (hex) over the texts of these languages in these rows: the same for the same texts elsewhere."""
        ordered = sorted(set(languages))
        return digest_of([*ordered, *(cell for column in self._columns(ordered) for cell in column)])

    def _columns(self, languages: Sequence[str]) -> list[list[str]]:
        for language in languages:
            if language not in self.languages:
                raise DataError(f"dataset '{self.text}': {unknown('language', language, self.languages)}")
        columns = self.data.columns(languages, self.rows.start, self.rows.stop)
        return [[cell.strip() for cell in column] for column in columns]


def open_parallel(text: str) -> ParallelText:
    """The set that a recipe names: demo, parquet:PATH, tsv:PATH or hf:NAME, each with an optional [first:end].

    Raises DataError for a set that is missing, damaged or empty, MissingExtra where a package is wanted.
    """
    spec = parse_parallel(text)
    source = _source(spec)
    total = source.num_rows()
    if not total:
        raise DataError(f"dataset '{text}' holds no rows")
    return ParallelText(text, source, spec.rows(total, "rows"))


def parse_parallel(text: str) -> DatasetSpec:
    """A set of parallel text.  Raises DataError, with what to write instead, for text that names none."""
    return PARALLEL.parse(text)


def parallel_problems(text: str) -> list[str]:
    """What is wrong with a set as far as can be told without reading it: its text, and whether its files exist."""
    try:
        spec = parse_parallel(text)
        if spec.kind == "parquet":
            parquet_files(spec)
        if spec.kind == "tsv":
            spec.file()
    except DataError as error:
        return [str(error)]
    return []


def digest_of(texts: Iterable[str]) -> str:
    """sha256 (hex) of texts in order, each behind its length: ['ab', 'c'] is not ['a', 'bc']."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


def _source(spec: DatasetSpec) -> ParallelSource:
    # Imported here: each needs its own package or none.
    if spec.kind == "parquet":
        from compress.data.parallel_parquet import open_parquet_text

        return open_parquet_text(spec)
    if spec.kind == "hf":
        from compress.data.parallel_hub import open_hub_text

        return open_hub_text(spec)
    from compress.data.parallel_tsv import TsvText

    return TsvText(spec.text, PHRASEBOOK if spec.kind == "demo" else spec.file())
