"""`compress translate`: a translation a line on stdout, figures on stderr, and one clear message for what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli import app
from compress.runtime.artefact import write_manifest
from compress.runtime.text import Decoding, open_translator
from tests.runtime.text.toys import write_decoder

LINES = ["Good morning!", "", "Hi", "Wait.", "  ", "One more"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decoder(tmp_path_factory.mktemp("decoder"), context=150)


def translate(directory: Path, *arguments: str, typed: str = "") -> tuple[int, str, str]:
    command = ["translate", str(directory), "--threads", "1", "--max-new-tokens", "8", *arguments]
    result = CliRunner().invoke(app, command, input=typed, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def expected(directory: Path, *texts: str, decoding: Decoding | None = None) -> str:
    found = open_translator(directory, threads=1).translate(texts, "en", "fr", decoding or Decoding(8))
    return "".join(one.text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ") + "\n" for one in found)


PAIR = ("--from", "en", "--to", "fr")


def test_the_words_of_a_text_are_one_text(directory: Path) -> None:
    assert translate(directory, *PAIR, "Good", "morning!") == (0, expected(directory, "Good morning!"), "")


@pytest.mark.parametrize("batch_size", ["1", "2", "8"])
def test_lines_keep_their_order_and_empty_ones_stay(directory: Path, tmp_path: Path, batch_size: str) -> None:
    typed = "\n".join(LINES) + "\n"
    (tmp_path / "lines.txt").write_text(typed)
    whole = expected(directory, *LINES)
    assert whole.count("\n") == len(LINES)
    more = ("--batch-size", batch_size)
    assert translate(directory, *PAIR, *more, "--file", str(tmp_path / "lines.txt")) == (0, whole, "")
    assert translate(directory, *PAIR, *more, typed=typed) == (0, whole, "")
    assert translate(directory, *PAIR, *more, "-", typed=typed) == (0, whole, "")


def test_options_reach_the_decoding(directory: Path) -> None:
    beams = expected(directory, "Hi", decoding=Decoding(8, num_beams=3))
    assert translate(directory, *PAIR, "--beams", "3", "Hi")[1] == beams
    drawn = expected(directory, "Hi", decoding=Decoding(8, 1, 1.5, 20, 0.9, 7))
    options = ("--temperature", "1.5", "--top-k", "20", "--top-p", "0.9", "--seed", "7")
    assert translate(directory, *PAIR, *options, "Hi")[1] == drawn


def test_a_file_that_was_changed_is_refused(directory: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(directory, changed)
    model = {"description": "a toy", "random_weights": True, "parameters": 1}
    quantization = {"weights": {}, "activations": 0, "effective_bits": 32.0}
    content = {"lock": {}, "model": model, "target": "generic", "quantization": quantization, "scores": {}}
    write_manifest(changed, content)
    assert translate(changed, *PAIR, "Hi") == (0, expected(directory, "Hi"), "")
    tokenizer = changed / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    code, written, told = translate(changed, *PAIR, "Hi")
    assert (code, written) == (2, "")
    assert told.startswith("error: ")
    assert "tokenizer.json" in told


def test_figures_go_to_stderr(directory: Path) -> None:
    code, _, told = translate(directory, *PAIR, "--stats", "Hi")
    assert code == 0
    assert told.startswith("loaded in ")
    assert "tokens/s" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "en", "--to", "klingon", "Hi"), "error: unknown language 'klingon': known: de, en, fr"),
        (("--from", "en", "--to", "de", "Hi"), "error: unknown language pair 'en-de': did you mean 'en-fr'?"),
        ((*PAIR, "--file", "x.txt", "Hi"), "error: both a text and --file are given: give one of them"),
        ((*PAIR, "--file", "/none.txt"), "error: /none.txt: cannot be read: No such file or directory"),
        ((*PAIR, "--beams", "2", "--temperature", "1", "Hi"), "error: num_beams is 2 and temperature 1.0: "),
    ],
)
def test_bad_input_is_told_in_a_line(directory: Path, arguments: tuple[str, ...], message: str) -> None:
    code, out, told = translate(directory, *arguments)
    assert (code, out) == (2, "")
    assert told.startswith(message)
    assert len(told.splitlines()) == 1


def test_a_line_that_is_too_long_loses_no_other_before_it(directory: Path) -> None:
    code, out, told = translate(directory, *PAIR, "--batch-size", "2", typed="Hi\nWait.\nOne\n" + "x" * 300 + "\n")
    assert code == 2
    assert out == expected(directory, "Hi", "Wait.")
    assert told.startswith("error: lines 3 to 4: text 2: its prompt takes ")
