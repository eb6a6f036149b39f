"""tsv:PATH, parallel text as tab-separated UTF-8: the first line names the languages, each later line is a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compress.errors import DataError


@dataclass(frozen=True)
class TsvText:
    """One file.  Nothing is quoted or escaped: a cell is what lies between two tabs.

    A line with nothing in it is a row of empty cells, so that row n is always line n + 2.
    """

    text: str
    path: Path

    def languages(self) -> tuple[str, ...]:
        return self._table[0]

    def num_rows(self) -> int:
        return len(self._table[1])

    def columns(self, languages: Sequence[str], start: int, stop: int) -> list[list[str]]:
        header, rows = self._table
        places = [header.index(language) for language in languages]
        return [[row[place] for row in rows[start:stop]] for place in places]

    @cached_property
    def _table(self) -> tuple[tuple[str, ...], list[list[str]]]:
        lines = self._lines()
        header = tuple(cell.strip() for cell in lines[0].split("\t"))
        self._check_header(header)
        rows = []
        for number, line in enumerate(lines[1:], start=2):
            cells = line.split("\t") if line.strip() else [""] * len(header)
            if len(cells) != len(header):
                raise DataError(
                    f"{self.path}:{number}: {len(cells)} columns, but the header has {len(header)}: every line needs "
                    f"{len(header) - 1} tabs, and no text may hold one"
                )
            rows.append(cells)
        return header, rows

    def _lines(self) -> list[str]:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from error
        try:
            decoded = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise DataError(
                f"{self.path}:{line}: not UTF-8: byte 0x{content[error.start]:02x}: save it as UTF-8"
            ) from error
        # Not str.splitlines: a text may hold a line separator of Unicode.
        lines = [line.removesuffix("\r") for line in decoded.split("\n")]
        if len(lines) > 1 and not lines[-1]:
            lines.pop()
        return lines

    def _check_header(self, header: tuple[str, ...]) -> None:
        if len(header) < 2:
            raise DataError(f"{self.path}:1: no tab: the first line must name the languages, such as en<TAB>fr")
        for number, language in enumerate(header, start=1):
            if not language:
                raise DataError(f"{self.path}:1: column {number} has no name: write its language's code")
            if header.index(language) != number - 1:
                raise DataError(f"{self.path}:1: two columns are called '{language}'")
