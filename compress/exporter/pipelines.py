"""export_pipeline(): a pipeline that makes images of texts → the directory that ships, as diffusers lays it out.

model_index.json                     the parts that lie here, how many steps and which guidance
text_encoder/model.onnx, config.json the text's states: input_ids → last_hidden_state
unet/model.onnx, config.json         the noise: (sample, timestep, encoder_hidden_states) → out_sample
vae_decoder/model.onnx, config.json  the pixels: latent_sample → sample
scheduler/scheduler_config.json      which steps are made
tokenizer/tokenizer.json, …          what makes numbers of a text

Beside each graph its weights lie in model.onnx_data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError, require
from compress.exporter.card import Card
from compress.exporter.denoisers import denoiser_signature
from compress.exporter.directory import appearing, describe, write_json
from compress.exporter.parts import LARGEST_BATCH, check_part, write_part
from compress.models.denoisers import unet
from compress.models.denoisers.schedule import INDEX, SCHEDULER, own_settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.exporter.graph import Signature
    from compress.models.pipelines.sampling import Sampling
    from compress.runtime.artefact import Artefact
    from compress.targets import Target

_GIVES = {"text_encoder": "text's states", "unet": "noise", "vae_decoder": "image"}


def export_pipeline(
    model: nn.Module,
    tokenizer: Any,
    scheduler: Mapping[str, Any],
    sampling: Sampling,
    example: tuple[Tensor, ...],
    directory: str | Path,
    *,
    target: Target | str,
    lock: Mapping[str, Any] | None = None,
    card: Card | None = None,
    force: bool = False,
) -> Artefact:
    """Write the artefact of `model` into `directory`, which appears all at once, and return it.

    model      the `PipelineParts`, after the passes.
    tokenizer  a transformers.CLIPTokenizer.
    scheduler  scheduler_config.json, as it ships.
    sampling   how images are made where nothing else is asked for.
    example    inputs (input_ids [N, L], sample [N, C, h, w], timestep [N]), on which each file and its torch model are
               compared, and whose sizes the graphs take.
    lock       what decided the result: recipe, seed, versions, hashes of the data.
    card       what the model card says beside the numbers.
    force      replace a directory that is there.

    Raises ArtefactError for a directory that exists, or a scheduler that the runtime does not know; ModelError for a
    model that ONNX cannot express; ParityError if a file and its torch model are not the same function.
    """
    require("torch", "exporting a model", "torch")
    require("onnxscript", "exporting a model", "torch")
    from compress import targets
    from compress.models.pipelines.schedulers import open_scheduler
    from compress.models.pipelines.tokenizer import write_tokenizer
    from compress.runtime.artefact import open_artefact
    from compress.runtime.text_to_image.directory import index_of

    check_activations(model)
    open_scheduler(scheduler, str(Path(directory) / SCHEDULER))
    directory, card = Path(directory), card or Card(task="text-to-image", whole=True)
    target = targets.load(target) if isinstance(target, str) else target
    known = signatures()
    with appearing(directory, force) as partial:
        for name, inputs in part_examples(model, example).items():
            path, part = partial / name / "model.onnx", getattr(model, name)
            rounds = write_part(part, inputs, path, target, known[name])
            where = str(directory / name / path.name)
            check_part(part, _opened(name, path), inputs, where, _GIVES[name], rounds=rounds, half=target.is_half)
            write_json(path.parent / "config.json", _config(name, part))
        model_bytes = sum(file.stat().st_size for file in partial.rglob("model.onnx*"))
        (partial / SCHEDULER).parent.mkdir()
        write_json(partial / SCHEDULER, scheduler)
        write_tokenizer(tokenizer, partial / "tokenizer")
        write_json(partial / INDEX, index_of(sampling, scheduler["_class_name"]))
        describe(partial, model, target, card, model_bytes, lock, None)
    return open_artefact(directory)


def signatures() -> dict[str, Signature]:
    """What each part's graph calls its inputs and its output."""
    from compress.exporter.graph import Signature
    from compress.runtime.text_to_image.graphs import LATENT_INPUT, PIXEL_OUTPUT, TEXT_INPUT, TEXT_OUTPUT

    return {
        "text_encoder": Signature((TEXT_INPUT,), TEXT_OUTPUT),
        "unet": denoiser_signature(unet.UNET),
        "vae_decoder": Signature((LATENT_INPUT,), PIXEL_OUTPUT, LARGEST_BATCH),
    }


def part_examples(model: Any, example: tuple[Tensor, ...]) -> dict[str, tuple[Tensor, ...]]:
    """The inputs of each part: the text's numbers, the latents with its states, the latents as the VAE has them."""
    import torch

    numbers, sample, timestep = example
    with torch.no_grad():
        states = model.text_encoder(numbers)
    latents = sample / model.vae_decoder.config.scaling_factor
    return {"text_encoder": (numbers.int(),), "unet": (sample, timestep, states), "vae_decoder": (latents,)}


def pipeline_bytes(model: nn.Module, example: tuple[Tensor, ...], target: Target) -> int:
    """Of the graphs that `export_pipeline` would write, with their weights.  Raises what it raises."""
    from compress.exporter.size import file_bytes

    check_activations(model)
    known = signatures()
    return sum(
        file_bytes(getattr(model, name), tuple(each[:1] for each in inputs), target, known[name], keep_codes=True)
        for name, inputs in part_examples(model, example).items()
    )


def check_activations(model: nn.Module) -> None:
    """Raise ModelError if activations are on grids: of those that lie between two graphs no graph has any."""
    from compress.models.activations import quantized_activations

    if quantized_activations(model):
        raise ModelError(
            "a pipeline's activations stay float: take out the passes that quantize them (quantize.static)"
        )


def _opened(name: str, path: Path) -> Callable[..., Any]:
    from compress.runtime.denoising import open_unet
    from compress.runtime.text_to_image.graphs import open_decoder, open_text_encoder

    openers: dict[str, Callable[[Path], Callable[..., Any]]]
    openers = {"text_encoder": open_text_encoder, "unet": open_unet, "vae_decoder": open_decoder}
    return openers[name](path)


def _config(name: str, part: Any) -> dict[str, Any]:
    """Of diffusers' or transformers' class, as they write it."""
    from compress.models.pipelines import vae

    if name == "text_encoder":
        found: dict[str, Any] = part.config.to_diff_dict()
        return found
    kind = {"unet": unet.CLASS_NAME, "vae_decoder": vae.CLASS_NAME}[name]
    return {"_class_name": kind, **own_settings(part.config)}
