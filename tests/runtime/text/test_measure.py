"""What is measured on a translator is measured in processes of its own, and its bytes are all accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import ArtefactError, DataError
from compress.runtime.text.measure import TextRuns, measure_text
from compress.runtime.text.parts import parts_of
from tests.runtime.text.toys import VOCABULARY, WIDTH, write_decoder, write_encoder_decoder

RUNS = TextRuns(tokens=4, rounds=4, loads=1)


def test_a_decoder_is_measured_beside_its_float_model(tmp_path: Path) -> None:
    own, reference = write_decoder(tmp_path / "own"), write_decoder(tmp_path / "float")
    found = measure_text(own, reference, ["English: One.\nFrench:", "Two"], threads=1, runs=RUNS)
    assert found.prefill_tokens_per_second > 0
    assert found.decode_tokens_per_second > 0
    assert found.prefill_ratio is not None
    assert found.decode_ratio is not None
    assert found.decode_ratio.num_pairs == 4
    assert 20e6 < found.rss_after_load_bytes <= found.peak_rss_loading_bytes < 200e6
    assert 20e6 < found.peak_rss_running_bytes < 200e6
    assert found.effective_bits is None  # no manifest
    assert found.time_to_first_token_ms > 0


def test_an_encoder_decoder_is_measured_alone(tmp_path: Path) -> None:
    found = measure_text(write_encoder_decoder(tmp_path), None, ["One."], threads=1, runs=RUNS)
    assert found.prefill_ratio is found.decode_ratio is None
    assert found.decode_tokens_per_second > 0


def test_every_byte_belongs_to_one_part(tmp_path: Path) -> None:
    table = 4 * VOCABULARY * WIDTH
    for directory, tables in (
        (write_decoder(tmp_path / "decoder"), 2),  # embedding and head
        (write_encoder_decoder(tmp_path / "encoder_decoder"), 3),  # two embeddings and a head
    ):
        parts = parts_of(directory)
        files = sum(path.stat().st_size for path in directory.iterdir())
        assert parts.body + parts.embedding_head + parts.tokenizer + parts.graph + parts.other == files
        assert tables * table <= parts.embedding_head < tables * table + 200  # and the names of the tensors
        assert parts.tokenizer == (directory / "tokenizer.json").stat().st_size
        assert parts.body > 4 * 4 * WIDTH * WIDTH
        assert parts.graph > 0
        assert parts.other == sum(path.stat().st_size for path in directory.glob("*.json")) - parts.tokenizer


def test_what_cannot_be_measured_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prompts to measure with"):
        measure_text(tmp_path, None, [])
    with pytest.raises(ArtefactError, match="holds neither"):
        measure_text(tmp_path, None, ["a"], runs=RUNS)
