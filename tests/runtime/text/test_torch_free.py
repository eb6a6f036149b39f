"""Translators run where torch and transformers are not installed, onnx neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.runtime.text.toys import write_decoder, write_encoder_decoder

SCRIPT = """
import sys
for name in ("torch", "transformers", "onnx", "onnx_ir", "sentencepiece"):
    sys.modules[name] = None
from compress.runtime.text import Decoding, open_translator
for directory in sys.argv[1:]:
    translator = open_translator(directory, threads=1)
    for beams in (1, 2):
        translator.translate(["One.", "Two words"], "en", "fr", Decoding(5, beams))
    list(translator.stream("One.", "en", "fr", Decoding(5, temperature=1.0)))
    translator.log_likelihood(["One."], ["Un."], "en", "fr")
"""


def test_translators_work_without_torch(tmp_path: Path) -> None:
    directories = [write_decoder(tmp_path / "decoder"), write_encoder_decoder(tmp_path / "encoder_decoder")]
    command = [sys.executable, "-W", "error", "-c", SCRIPT, *map(str, directories)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
