"""hf:NAME[@REVISION][:SPLIT], parallel text of the Hugging Face hub, through the `datasets` library (an extra)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compress.data.hub import load_split
from compress.data.spec import DatasetSpec
from compress.errors import DataError


@dataclass(frozen=True)
class HubText:
    """A split on disk, memory-mapped.

    nested  the column of type Translation, {code: text}, in which the languages lie; None: each has its own column.
    """

    text: str
    table: Any  # datasets.Dataset
    codes: tuple[str, ...]
    nested: str | None

    def languages(self) -> tuple[str, ...]:
        return self.codes

    def num_rows(self) -> int:
        return len(self.table)

    def columns(self, languages: Sequence[str], start: int, stop: int) -> list[list[str]]:
        rows = self.table[start:stop]  # {column: cells}
        if self.nested is not None:
            return [[(cell or {}).get(language) or "" for cell in rows[self.nested]] for language in languages]
        return [[cell or "" for cell in rows[language]] for language in languages]


def open_hub_text(spec: DatasetSpec) -> HubText:
    """Downloads the split once, into the cache of `datasets`.

    Raises MissingExtra without `datasets`; DataError if there is no such set or split, if the hub cannot be reached and
    the set is not in the cache, or if the split has neither a column of translations nor columns of text.
    """
    table = load_split(spec)
    import datasets

    features = table.features
    translations = [name for name, feature in features.items() if isinstance(feature, datasets.Translation)]
    if len(translations) == 1:
        return HubText(spec.text, table, tuple(features[translations[0]].languages), translations[0])
    texts = tuple(name for name, feature in features.items() if getattr(feature, "dtype", None) == "string")
    if not texts:
        raise DataError(
            f"dataset '{spec.text}' must have a column of text a language, or one of translations; its columns are: "
            f"{', '.join(f'{name} ({type(feature).__name__})' for name, feature in features.items())}"
        )
    return HubText(spec.text, table, texts, None)
