"""The page of examples/web in Chromium: artefacts give there what they give in Python.

Native kernels of MatMulNBits round activations to int8 (accuracy_level 4), those of WebAssembly take them as floats.
So the logits are those of Python at accuracy_level 1, and a token parts from Python's where its two best are near.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import compress
from compress.recipe import parse
from compress.runtime.text import Decoding, open_translator
from tests.chromium import BROWSER, chromium

NPM = shutil.which("npm")
SOURCE = Path(__file__).parents[2] / "examples" / "web"
TEXT, TOKENS = "Good morning. Where is the train station?", 12
ROUNDING = 0.1  # of the logits' spread: what int8 activations move one by at the most; 0.058 of it was seen
RECIPE = """
name: tiny
model: random:tiny-gemma3
task:
  translation: {{pairs: [en-fr], shots: "demo[0:1]", num_likelihood: 1, num_translations: 1, max_new_tokens: 4}}
passes:
  - quantize.weights: {{num_bits: {bits}, strategy: group, group_size: 16, symmetric: false}}
  - quantize.weights: {{targets: ["role:embedding"], num_bits: {bits}, strategy: group, group_size: 16}}
target: web
"""

pytestmark = [*BROWSER, pytest.mark.skipif(NPM is None, reason="no npm: apt install npm")]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "site"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run([str(NPM), "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def browser(site: Path) -> Iterator[Any]:
    server = ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    driver = chromium(site.parent / "profile")
    driver.set_script_timeout(60)
    driver.get(f"http://localhost:{server.server_port}/")
    yield driver
    driver.quit()
    server.shutdown()
    server.server_close()


def called(browser: Any, script: str, *given: Any) -> Any:
    """What an asynchronous script gives; its error, where it throws one."""
    return browser.execute_async_script(
        f"const args = [...arguments], done = args.pop(); (async () => {{ {script} }})()"
        ".then(done, error => done({error: String(error)}))",
        *given,
    )


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_translator_writes_the_tokens_that_it_writes_in_python(
    browser: Any, site: Path, tmp_path: Path, bits: int
) -> None:
    directory = made(tmp_path, bits)
    shutil.copytree(directory, site / f"w{bits}")
    script = """
    const {openTranslator} = await import("/translator.js");
    return (await openTranslator(args[0])).translate(args[1], "en", "fr", args[2]);
    """
    found = called(browser, script, f"/w{bits}", TEXT, TOKENS)
    assert found.get("error") is None
    [rounded] = open_translator(directory).translate([TEXT], "en", "fr", Decoding(max_new_tokens=TOKENS))
    [expected] = open_translator(with_floats(directory)).translate([TEXT], "en", "fr", Decoding(max_new_tokens=TOKENS))
    assert tuple(found["tokens"]) == expected.tokens
    assert found["text"] == expected.text
    assert on_the_page(browser, f"w{bits}") == expected.text
    parted = [
        number for number, pair in enumerate(zip(expected.tokens, rounded.tokens, strict=True)) if len({*pair}) > 1
    ]
    if parted:
        logits = first_logits(directory, rounded.tokens[: parted[0]])
        first, second = np.sort(logits)[-1], logits[expected.tokens[parted[0]]]
        assert first - second < 2 * ROUNDING * logits.std()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounding_activations_moves_logits_by_little(tmp_path: Path, bits: int) -> None:
    directory = made(tmp_path, bits)
    floats = first_logits(with_floats(directory))
    moved = np.abs(first_logits(directory) - floats).max() / floats.std()
    assert 0 < moved < ROUNDING


def made(folder: Path, bits: int) -> Path:
    compress.run(parse(RECIPE.format(bits=bits)), output=folder)
    return folder / "tiny" / "artefact"


def with_floats(directory: Path) -> Path:
    """The artefact beside itself, its activations not rounded, as WebAssembly's kernels take them."""
    folder = directory.with_name("floats")
    shutil.copytree(directory, folder)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    levels = [one for node in model.graph.node for one in node.attribute if one.name == "accuracy_level"]
    assert levels
    for level in levels:
        level.i = 1
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def first_logits(directory: Path, written: Sequence[int] = ()) -> np.ndarray:
    """[vocabulary]: of the token after the prompt and what was written."""
    translator = open_translator(directory)
    prompt = translator.prompt_tokens(translator.prompt.render(TEXT, "en", "fr"))
    return np.array(translator.begin([*prompt, *written]).logits[0])


def on_the_page(browser: Any, artefact: str) -> str:
    """The answer that stands on the page, once it says how long it took."""
    from selenium.webdriver.support.ui import WebDriverWait

    for name, value in (("artefact", artefact), ("text", TEXT), ("limit", str(TOKENS))):
        field = browser.find_element("name", name)
        field.clear()
        field.send_keys(value)
    browser.find_element("css selector", "button").click()
    WebDriverWait(browser, 60).until(lambda _: "ms a run" in browser.find_element("id", "time").text)
    return str(browser.find_element("id", "answer").get_property("textContent"))
