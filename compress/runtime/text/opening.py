"""open_translator(): which kind of translator a directory holds."""

from __future__ import annotations

from pathlib import Path

from compress.errors import ArtefactError
from compress.runtime.artefact import DECODER, ENCODER, MODEL, Artefact
from compress.runtime.text.causal_translator import CausalTranslator
from compress.runtime.text.seq2seq_translator import Seq2SeqTranslator
from compress.runtime.text.translator import Translator


def open_translator(source: Artefact | str | Path, threads: int = 2) -> Translator:
    """Open the translator in a directory, with `threads` threads.

    Raises ArtefactError for a directory that holds none, or whose files are damaged or do not fit each other.
    """
    directory = source.directory if isinstance(source, Artefact) else Path(source)
    if (directory / ENCODER).is_file() or (directory / DECODER).is_file():
        return Seq2SeqTranslator(directory, threads)
    if not (directory / MODEL).is_file():
        what = "no such directory" if not directory.is_dir() else f"holds neither {MODEL} nor {DECODER}"
        raise ArtefactError(f"{directory}: {what}: name the directory of a translator")
    return CausalTranslator(directory, threads)
