"""What the page shows of one run: its row, and what lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compress.allocation.told import LayerLosses
from compress.report.row import Row


@dataclass(frozen=True)
class Sample:
    """A text, translated by the float model and by the row's.

    source, reference  None where the data set cannot be read any more.
    before, after      the float model's translation, and the row's.
    """

    pair: str
    number: int
    source: str | None
    reference: str | None
    before: str
    after: str


@dataclass(frozen=True)
class Line:
    """The first images that a generator made, beside each other.

    made_for  the same for images of the same classes and seeds.
    num       of the images.
    png       the file's bytes.
    """

    made_for: str
    num: int
    png: bytes


@dataclass(frozen=True)
class Entry:
    """A row with what lies beside it.

    lock, quantization  of the artefact's manifest; None and empty where the artefact lies no longer beside its row.
    num_translations    of which `samples` are the first of each pair.
    line                of a generator.
    losses              by layer, of a budget that was shared out.
    """

    row: Row
    lock: Mapping[str, Any] | None = None
    quantization: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    num_translations: int = 0
    line: Line | None = None
    losses: Mapping[str, LayerLosses] = field(default_factory=dict)

    @property
    def data(self) -> tuple[str, str]:
        """sha256 of the data that the scores were taken on, and their name; both empty where no manifest says them."""
        if self.lock is None:
            return "", ""
        return str(self.lock["evaluation_sha256"]), str(self.lock["recipe"]["task"][self.row.task]["dataset"])
