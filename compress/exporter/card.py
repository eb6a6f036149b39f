"""The model card: README.md of an artefact, in the Hugging Face convention."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from compress.tasks.base import Figure, Scores

_SHARES = ("top1", "top5", "agreement")  # shown in per cent


@dataclass(frozen=True)
class Card:
    """What a model card says beside the numbers.

    description     one line: which model this was.
    random_weights  whether its weights are fresh ones, so that no figure of quality means anything.
    licence         of the weights, as an SPDX name in small letters or an address; None: not known.
    task            what the model is for, as the Hugging Face hub names it.
    whole           of text-to-image: whether all parts of the pipeline lie here, and not the denoiser alone.
    part            of text-to-image: the folder of the denoiser.
    """

    description: str = "An image classifier"
    random_weights: bool = False
    licence: str | None = None
    task: Literal["image-classification", "translation", "unconditional-image-generation", "text-to-image"] = (
        "image-classification"
    )
    whole: bool = False
    part: Literal["unet", "transformer"] = "unet"


def model_card(card: Card, content: Mapping[str, Any], scores: Scores) -> str:
    """README.md as text.  `content` is that of compress.json, as far as it is known; `scores` those to be shown."""
    return "\n".join([*_front_matter(card, content), "", *_body(card, content, scores)]) + "\n"


def write_card(directory: Path, card: Card, content: Mapping[str, Any], scores: Scores) -> None:
    """Write README.md; compress.json must be written (again) afterwards, as it holds the card's hash."""
    (directory / "README.md").write_text(model_card(card, content, scores), encoding="utf-8", newline="\n")


def _front_matter(card: Card, content: Mapping[str, Any]) -> Iterator[str]:
    yield "---"
    if card.licence is not None:
        known = "://" not in card.licence
        yield f"license: {json.dumps(card.licence if known else 'other')}"
        if not known:
            yield f"license_link: {json.dumps(card.licence)}"
    yield "library_name: onnxruntime"
    yield f"pipeline_tag: {card.task}"
    yield "tags:"
    yield "- onnx"
    if content["quantization"]["weights"]:
        yield "- quantized"
    yield "---"


def _body(card: Card, content: Mapping[str, Any], scores: Scores) -> Iterator[str]:
    quantization, recipe = content["quantization"], content["lock"].get("recipe", {})
    yield f"# {recipe.get('name', card.description)}"
    yield ""
    yield f"{card.description.rstrip('.')}."
    if card.random_weights:
        yield ""
        yield "**Its weights are random: size and speed mean something, its answers do not.**"
    yield ""
    yield f"- Parameters: {content['model']['parameters']:,}, {quantization['effective_bits']:g} bits each in the file"
    yield f"- Weights: {_weights(quantization['weights'])}"
    yield f"- Activations: {_activations(quantization['activations'])}"
    if "vocabulary" in quantization:
        vocabulary = quantization["vocabulary"]
        yield f"- Vocabulary: {vocabulary['tokens']:,} of {vocabulary['of']:,} tokens"
    if "sparsity" in quantization:
        yield _sparsity(quantization["sparsity"])
    yield f"- Made for: {content['target']}"
    if scores:
        yield ""
        yield "| score | value | 95 % interval | samples |"
        yield "|---|---|---|---|"
        for name in sorted(scores):
            yield _score_row(name, scores[name])
    yield ""
    yield "`compress.json` says how this was made and what each file must be: `compress verify` checks it."
    yield ""
    if card.whole:
        yield from _PIPELINE
    else:
        yield from _TRANSFORMER if card.part == "transformer" else _USAGE[card.task]


def _weights(weights: Mapping[str, Any]) -> str:
    if not weights:
        return "float32"
    counts: dict[str, int] = {}
    for weight in weights.values():
        group = "" if weight["group_size"] is None else f" in groups of {weight['group_size']}"
        form = f"{weight['num_bits']} bits{group}"
        counts[form] = counts.get(form, 0) + 1
    return ", ".join(f"{count} tensors of {form}" for form, count in sorted(counts.items()))


def _sparsity(sparsity: Mapping[str, Any]) -> str:
    """What zeros give, and what they do not."""
    whole, deflated = sparsity["model_bytes"] / 1e6, sparsity["gzip_bytes"] / 1e6
    return (
        f"- Sparsity: {100 * sparsity['share']:.1f} % of the weights are zero. They are stored as any other, in "
        f"{whole:.1f} MB, which a download with gzip makes {deflated:.1f} MB; the runtime's kernels are dense, and no "
        "faster for them"
    )


def _activations(count: int) -> str:
    return f"{count} tensors quantized to uint8" if count else "float32"


def _score_row(name: str, figure: Figure) -> str:
    low, high = figure.low, figure.high
    interval = "" if low is None or high is None else f"{_number(name, low)} … {_number(name, high)}"
    return f"| {name} | {_number(name, figure.value)} | {interval} | {figure.num_samples or ''} |"


def _number(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if name in _SHARES else f"{value:.4g}"


_IMAGES = """\
## Use

```python
import json
import numpy as np, onnxruntime
from transformers import AutoImageProcessor
from PIL import Image

processor = AutoImageProcessor.from_pretrained(".")
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")  # int8 without VNNI would saturate
session = onnxruntime.InferenceSession("model.onnx", options)
pixels = processor(Image.open("photograph.jpg"), return_tensors="np")["pixel_values"].astype(np.float32)
[logits] = session.run(["logits"], {"pixel_values": pixels})
print(json.load(open("config.json"))["id2label"][str(logits[0].argmax())])
```""".splitlines()

_TEXT = """\
## Use

```bash
compress translate . --from en --to fr "Good morning."
```""".splitlines()

_GENERATION = """\
## Use

```bash
compress generate . --class 0 --seed 0 --num 8 -o out.png
```""".splitlines()

_PIPELINE = """\
## Use

```bash
compress generate . --prompt "a lighthouse at night" --seed 0 -o out.png
```""".splitlines()

_DENOISING = """\
## Use

One step; a pipeline of diffusers takes many, with the text encoder and the decoder of images that do not lie here.

```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("unet/model.onnx")
sizes = {given.name: given.shape[1:] for given in session.get_inputs()}
inputs = {name: np.random.standard_normal((1, *shape)).astype(np.float32) for name, shape in sizes.items()}
inputs["timestep"] = np.array([500], np.float32)
[noise] = session.run(["out_sample"], inputs)
```""".splitlines()

_TRANSFORMER = """\
## Use

One step; a pipeline of diffusers takes many, with what reads texts and the decoder of images that do not lie here.

```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("transformer/model.onnx")
inputs = {}
for given in session.get_inputs():  # a mask of ones, class 1
    kind = np.int64 if given.type == "tensor(int64)" else np.float32
    inputs[given.name] = np.ones((1, *given.shape[1:]), kind)
inputs["hidden_states"] = np.random.standard_normal(inputs["hidden_states"].shape).astype(np.float32)
inputs["timestep"] = np.array([500], np.float32)
[noise] = session.run(["out_sample"], inputs)
```""".splitlines()

_USAGE = {
    "image-classification": _IMAGES,
    "translation": _TEXT,
    "unconditional-image-generation": _GENERATION,
    "text-to-image": _DENOISING,
}
