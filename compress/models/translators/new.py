"""new:SHAPE: a small Marian to be trained from nothing, with a vocabulary of its own.

Its weights are fresh, and its pieces are learned by SentencePiece (unigram, Kudo 2018, arXiv:1804.10959) from the
parallel text that the recipe names.  Each of its languages has a token `>>xx<<` to be translated into, as
Marian's multilingual models have.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.data.languages import LANGUAGES
from compress.data.parallel import open_parallel
from compress.errors import ModelError
from compress.models.loaded import told
from compress.models.source import ModelSource
from compress.models.translators.building import blank_model, family_of, quiet, random_model
from compress.models.translators.convert import marian_tokenizers
from compress.models.translators.loaded import SETTINGS, LoadedTranslator
from compress.models.translators.prompts import default_prompt
from compress.models.translators.shape import shape_of

_SPECIALS = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
# Sentences of fewer characters than this are what a vocabulary is learned from; SentencePiece's own limit is in bytes.
_LONGEST = 4000


def load(source: ModelSource) -> LoadedTranslator:
    """Raises ModelError for a shape that is no Marian, or too small a text; DataError for none."""
    shape = _shape(source)
    with tempfile.TemporaryDirectory() as folder:
        numbers = write_vocabulary(source, Path(folder))
        tokenizer, _ = marian_tokenizers(Path(folder), separate=False)
    config = _config(shape, len(numbers))
    with told(source.source), quiet():
        model = random_model(config, source.seed, shape["std"], source.source, shape.get("embedding_std"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **_SPECIALS, "clean_up_tokenization_spaces": False}
    return LoadedTranslator(
        model,
        family_of(config, source.source),
        tokenizer,
        default_prompt(config, tokenizer, None, _SPECIALS),
        files={SETTINGS: (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()},
        description=f"{shape['description']}, trained from nothing by its recipe",
    )


def blank(source: ModelSource) -> Any:
    """The model on the meta device, its vocabulary as large as it may become."""
    with told(source.source), quiet():
        return blank_model(_config(_shape(source), source.vocab_size or 0), source.source)


def write_vocabulary(source: ModelSource, folder: Path) -> dict[str, int]:
    """Learn the pieces and write source.spm, target.spm (the same) and vocab.json, as Marian's models have them."""
    import sentencepiece

    languages = source.languages
    written = io.BytesIO()
    specials = [f">>{LANGUAGES[code].iso}<<" for code in languages]
    with told(f"{source.source}: corpus {source.corpus}"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_texts(source),
            model_writer=written,
            model_type="unigram",
            vocab_size=(source.vocab_size or 0) - len(specials) - 1,  # and the padding
            character_coverage=1.0,
            byte_fallback=False,
            num_threads=1,
            bos_id=-1,
            eos_id=0,
            unk_id=1,
            minloglevel=2,
        )
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    numbers = {piece: number for number, piece in enumerate([*pieces, *specials, "<pad>"])}
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(written.getvalue())
    (folder / "vocab.json").write_text(json.dumps(numbers, ensure_ascii=False), encoding="utf-8")
    return numbers


def _texts(source: ModelSource) -> Iterator[str]:
    rows = open_parallel(source.corpus or "demo")
    for code in source.languages:
        for text in rows.texts(code):
            if text.strip():
                yield text[:_LONGEST]


def _shape(source: ModelSource) -> dict[str, Any]:
    shape = shape_of(source)
    if shape["config"]["model_type"] != "marian":
        raise ModelError(f"{source.source}: a new translator is a Marian: write new:marian-small")
    return shape


def _config(shape: dict[str, Any], vocab_size: int) -> Any:
    from transformers import AutoConfig

    sizes = {"vocab_size": vocab_size, "decoder_vocab_size": vocab_size}
    padding = {"pad_token_id": vocab_size - 1, "decoder_start_token_id": vocab_size - 1}
    with quiet():
        return AutoConfig.for_model(**{**shape["config"], **sizes, **padding})
