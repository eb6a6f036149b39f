"""What `compress translate` does: one text as it comes, or the lines of a file, a translation a line.  No torch."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from compress.errors import DataError
from compress.runtime.artefact import MANIFEST, open_artefact
from compress.runtime.text import Decoding, Translation, Translator, open_translator


@dataclass(frozen=True)
class Languages:
    """Codes of the prompt's languages."""

    source: str
    target: str


class Stats:
    """What was written since it was made, and how fast."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.first: float | None = None
        self.texts = self.tokens = 0

    def heard(self, *_: object) -> None:
        """Something was written."""
        if self.first is None:
            self.first = time.perf_counter()

    def count(self, translations: Sequence[Translation]) -> None:
        self.heard()
        self.texts += len(translations)
        self.tokens += sum(len(translation.tokens) for translation in translations)

    def __str__(self) -> str:
        seconds = time.perf_counter() - self.started
        first = "" if self.first is None else f", the first after {(self.first - self.started) * 1e3:.0f} ms"
        rate = self.tokens / seconds if seconds else 0.0
        return f"{self.texts} texts, {self.tokens} tokens in {seconds:.2f} s: {rate:.1f} tokens/s{first}"


def _checked_translator(directory: Path, threads: int) -> Translator:
    """The translator, its files checked meanwhile, if it has a manifest.  Raises ArtefactError for damaged ones."""
    with ThreadPoolExecutor(1) as pool:
        check = pool.submit(open_artefact, directory) if (directory / MANIFEST).is_file() else None
        try:
            translator = open_translator(directory, threads)
        finally:
            if check is not None:
                check.result()
        return translator


def translate(
    artefact: Path,
    languages: Languages,
    text: str | None,
    file: Path | None,
    decoding: Decoding,
    *,
    threads: int,
    batch_size: int,
    stats: bool,
) -> None:
    """Write translations to stdout: of the text, or of the lines of `file`, or of those of stdin (no text, or '-').

    A text given on the command line streams; so does a line that is typed.  Other lines go through the model
    `batch_size` at once, and come out in their order.  An empty line stays an empty line.

    Raises CompressError for an unknown language, a file that cannot be read, and a text longer than the context;
    what was translated before it stays written.
    """
    if file is not None and text is not None:
        raise DataError("both a text and --file are given: give one of them")
    reading = _opened(file) if text in (None, "-") else None
    started = time.perf_counter()
    translator = _checked_translator(artefact, threads)
    for code in (languages.source, languages.target):
        translator.prompt.language(code)
    loaded = time.perf_counter() - started
    told = Stats()
    if reading is None:
        _streamed(translator, [text or ""], languages, decoding, told)
    else:
        with reading as lines:
            if lines.isatty() or batch_size == 1:
                _streamed(translator, (line.rstrip("\r\n") for line in lines), languages, decoding, told)
            else:
                _batched(translator, lines, languages, decoding, batch_size, told)
    if stats:
        print(f"loaded in {loaded:.2f} s; {told}", file=sys.stderr)


def _streamed(
    translator: Translator, texts: Iterable[str], languages: Languages, decoding: Decoding, told: Stats
) -> None:
    """Each text's translation on a line of its own, as it comes; line breaks within it become spaces."""

    def say(_: int, piece: str) -> None:
        told.heard()
        print(_one_line(piece), end="", flush=True)

    for text in texts:
        told.count(translator.translate([text], languages.source, languages.target, decoding, 1, on_piece=say))
        print(flush=True)


def _batched(
    translator: Translator, lines: TextIO, languages: Languages, decoding: Decoding, batch_size: int, told: Stats
) -> None:
    first = 1
    while batch := [line.rstrip("\r\n") for line in islice(lines, batch_size)]:
        try:
            found = translator.translate(batch, languages.source, languages.target, decoding, batch_size)
        except DataError as error:
            raise DataError(f"lines {first} to {first + len(batch) - 1}: {error}") from error
        first += len(batch)
        told.count(found)
        for translation in found:
            print(_one_line(translation.text))
        sys.stdout.flush()


def _one_line(text: str) -> str:
    return text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")


def _opened(file: Path | None) -> TextIO:
    """Lines of a file, or of stdin, in UTF-8 whatever the locale."""
    if file is None or str(file) == "-":
        return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")
    try:
        file.read_bytes().decode("utf-8-sig")
        return file.open(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8: {error}") from error
