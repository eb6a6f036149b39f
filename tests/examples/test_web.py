"""The page of examples/web in Chromium: artefacts give there what they give in Python.

Native kernels of MatMulNBits round activations to int8 (accuracy_level 4), those of WebAssembly take them as floats.
So the logits are those of Python at accuracy_level 1, and a token parts from Python's where its two best are near.
"""

from __future__ import annotations

import json
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
import torch
from PIL import Image

import compress
from compress.data.decode import decode
from compress.data.preprocess import Preprocessor
from compress.models.load import load_model
from compress.models.source import ModelSource
from compress.passes import FoldBatchNorm, QuantizeStatic
from compress.recipe import parse
from compress.runtime.session import inference_session, session_options
from compress.runtime.text import Decoding, open_translator
from tests.chromium import BROWSER, chromium
from tests.interop import made as interop

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


def test_an_encoder_and_a_decoder_write_the_tokens_that_they_write_in_python(
    browser: Any, site: Path, tmp_path: Path
) -> None:
    recipe = RECIPE.format(bits=8).replace("tiny-gemma3", "tiny-marian").replace(', shots: "demo[0:1]"', "")
    compress.run(parse(recipe), output=tmp_path)
    directory = with_floats(tmp_path / "tiny" / "artefact", "decoder_model_merged.onnx", "encoder_model.onnx")
    shutil.copytree(directory, site / "marian")
    script = """
    const {openEncoderDecoder} = await import("/encoder_decoder.js");
    return (await openEncoderDecoder(args[0])).translate(args[1], "en", "fr", args[2]);
    """
    found = called(browser, script, "/marian", TEXT, TOKENS)
    assert found.get("error") is None
    [expected] = open_translator(directory).translate([TEXT], "en", "fr", Decoding(max_new_tokens=TOKENS))
    assert len(expected.tokens) > 3
    assert tuple(found["tokens"]) == expected.tokens
    assert found["text"] == expected.text
    assert on_the_page(browser, "marian") == expected.text


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(61, 40), (40, 61), (9, 8)])
def test_an_image_is_preprocessed_as_in_python(
    browser: Any, site: Path, tmp_path: Path, interpolation: Any, size: tuple[int, int]
) -> None:
    preprocessor = Preprocessor(resize=17, crop=(14, 20), interpolation=interpolation)
    image = drawn(site / "image.png", size)
    script = """
    const {decoded, preprocessed} = await import("/preprocess.js");
    const file = await (await fetch("/image.png", {cache: "no-store"})).blob();
    return [...preprocessed(await decoded(file), args[0])];
    """
    found = called(browser, script, preprocessor.to_hugging_face())
    expected = preprocessor(decode(image.read_bytes(), "image.png"))
    assert np.abs(np.reshape(found, expected.shape) - expected).max() < 1e-6  # a level is 0.017


def test_a_classifier_gives_the_logits_that_it_gives_in_python(browser: Any, site: Path, tmp_path: Path) -> None:
    directory = interop.classifier(tmp_path / "artefact", "web")
    assert_same(browser, site, directory, drawn(tmp_path / "image.png", (61, 40)))


def test_efficientnet_lite0_gives_the_logits_that_it_gives_in_python(browser: Any, site: Path, tmp_path: Path) -> None:
    foolbox = pytest.importorskip("foolbox", reason="no foolbox: the extra [demo] brings it")
    loaded = load_model(ModelSource("package:efficientnet-lite0"))
    task = compress.ImageClassification(loaded.preprocessor, len(loaded.labels), labels=loaded.labels)
    batches = [(torch.from_numpy(batch.inputs),) for batch in task.calibration()]
    passes = [FoldBatchNorm(), QuantizeStatic(observer="minmax")]
    model = compress.apply(loaded.model, passes, lambda: batches, target="web")
    compress.export(
        model,
        task.example(),
        tmp_path / "lite0",
        target="web",
        preprocessor=loaded.preprocessor,
        labels=loaded.labels,
    )
    photograph = min(Path(foolbox.__file__).parent.glob("data/imagenet_*.jpg"))
    with Image.open(photograph) as image:  # as PNG: decoders of JPEG may differ by a level
        image.convert("RGB").save(tmp_path / "photograph.png")
    assert_same(browser, site, tmp_path / "lite0", tmp_path / "photograph.png")


def assert_same(browser: Any, site: Path, directory: Path, image: Path) -> None:
    """Logits, as a share of their standard deviation, and the label on the page."""
    name = directory.name
    shutil.copytree(directory, site / name)
    shutil.copy(image, site / "image.png")
    script = """
    const {openClassifier} = await import("/classifier.js");
    const file = await (await fetch("/image.png", {cache: "no-store"})).blob();
    return (await openClassifier(args[0])).classify(file);
    """
    found = called(browser, script, f"/{name}")
    assert found.get("error") is None
    pixels = """
    const {decoded, preprocessed} = await import("/preprocess.js");
    const file = await (await fetch("/image.png", {cache: "no-store"})).blob();
    return [...preprocessed(await decoded(file), args[0])];
    """
    settings = json.loads((directory / "preprocessor_config.json").read_text())
    inputs = Preprocessor.from_hugging_face(settings)(decode(image.read_bytes(), image.name))
    read = np.reshape(called(browser, pixels, settings), inputs.shape)
    np.testing.assert_array_equal(np.float32(read), inputs)
    session = inference_session(directory / "model.onnx", session_options(1))
    [[logits]] = session.run(["logits"], {session.get_inputs()[0].name: inputs[None]})
    away = np.abs(np.array(found["logits"]) - logits).max() / logits.std()
    print(f"{name}: logits within {away:.2g} of their deviation, {found['milliseconds']:.1f} ms")
    assert away < 1e-4
    labels = json.loads((directory / "config.json").read_text())["id2label"]
    assert found["text"] == labels[str(logits.argmax())]
    browser.find_element("name", "image").send_keys(str(image))
    assert on_the_page(browser, name) == found["text"]


def drawn(path: Path, size: tuple[int, int]) -> Path:
    """Noise of 0 … 255, width × height, as PNG."""
    levels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(levels).save(path)
    return path


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounding_activations_moves_logits_by_little(tmp_path: Path, bits: int) -> None:
    directory = made(tmp_path, bits)
    floats = first_logits(with_floats(directory))
    moved = np.abs(first_logits(directory) - floats).max() / floats.std()
    assert 0 < moved < ROUNDING


def made(folder: Path, bits: int) -> Path:
    compress.run(parse(RECIPE.format(bits=bits)), output=folder)
    return folder / "tiny" / "artefact"


def with_floats(directory: Path, *graphs: str) -> Path:
    """The artefact beside itself, its activations not rounded, as WebAssembly's kernels take them."""
    folder = directory.with_name("floats")
    shutil.copytree(directory, folder)
    for graph in graphs or ("model.onnx",):
        model = onnx.load(folder / graph, load_external_data=False)
        levels = [one for node in model.graph.node for one in node.attribute if one.name == "accuracy_level"]
        assert levels
        for level in levels:
            level.i = 1
        (folder / graph).write_bytes(model.SerializeToString())
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
