"""export_denoiser(): a model that denoises latents → the directory that ships, in the layout of diffusers' pipelines.

model_index.json                  the parts that lie here
unet/model.onnx, model.onnx_data  the noise: (sample, timestep, encoder_hidden_states) → out_sample
unet/config.json                  that of diffusers' class
scheduler/scheduler_config.json   as the source has it, if it has one

A transformer lies in transformer/ in the place of unet/; its inputs are those of its `Architecture`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import require
from compress.exporter.card import Card
from compress.exporter.directory import appearing, describe, write_json
from compress.exporter.parts import LARGEST_BATCH, check_part, write_part
from compress.models.denoisers.schedule import INDEX, SCHEDULER, own_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from compress.exporter.graph import Signature
    from compress.models.denoisers.architecture import Architecture
    from compress.models.denoisers.loading import LoadedDenoiser
    from compress.runtime.artefact import Artefact
    from compress.targets import Target


def export_denoiser(
    model: nn.Module,
    source: LoadedDenoiser,
    example: tuple[Tensor, ...],
    directory: str | Path,
    *,
    target: Target | str,
    lock: Mapping[str, Any] | None = None,
    card: Card | None = None,
    force: bool = False,
) -> Artefact:
    """Write the artefact of `model` into `directory`, which appears all at once, and return it.

    source   what the model was loaded as: its scheduler and the pipeline's name go along.
    example  inputs of its architecture, [N, …] each, on which the file and the torch model are compared, and whose
             sizes the graph takes.
    lock     what decided the result: recipe, seed, versions, hashes of the data.
    card     what the model card says beside the numbers.
    force    replace a directory that is there.

    Raises ArtefactError for a directory that exists; ModelError for a model that ONNX cannot express; ParityError if
    the file and the torch model are not the same function.
    """
    require("torch", "exporting a model", "torch")
    require("onnxscript", "exporting a model", "torch")
    from compress import targets
    from compress.runtime.artefact import open_artefact
    from compress.runtime.denoising import open_denoiser

    folder = source.architecture.folder
    signature = denoiser_signature(source.architecture)
    directory, card = Path(directory), card or Card(task="text-to-image", part=folder)
    target = targets.load(target) if isinstance(target, str) else target
    with appearing(directory, force) as partial:
        graph = partial / folder / "model.onnx"
        rounds = write_part(model, example, graph, target, signature)
        model_bytes = sum(file.stat().st_size for file in graph.parent.iterdir())
        where = str(directory / folder / graph.name)
        check_noise(model, open_denoiser(graph), example, where, rounds=rounds, half=target.is_half)
        _write_configs(partial, model, source)
        describe(partial, model, target, card, model_bytes, lock, None)
    return open_artefact(directory)


def denoiser_signature(architecture: Architecture) -> Signature:
    """What the graph calls its inputs and its output."""
    from compress.exporter.graph import Signature
    from compress.runtime.denoising.graph import OUTPUT

    return Signature(tuple(architecture.kinds), OUTPUT, LARGEST_BATCH)


def check_noise(
    model: nn.Module,
    graph: Callable[..., NDArray[np.float32]],
    example: tuple[Tensor, ...],
    where: str,
    *,
    rounds: bool,
    half: bool = False,
) -> float:
    """How far the file and the torch model are apart: see `check_part`."""
    return check_part(model, graph, example, where, "noise", rounds=rounds, half=half)


def _write_configs(directory: Path, model: Any, source: LoadedDenoiser) -> None:
    folder = source.architecture.folder
    config = {"_class_name": type(model).__name__, **own_settings(model.config)}
    write_json(directory / folder / "config.json", config)
    index: dict[str, Any] = {"_class_name": source.pipeline, folder: ["diffusers", "OnnxRuntimeModel"]}
    scheduler = source.schedule.config
    if scheduler is not None:
        (directory / SCHEDULER).parent.mkdir()
        write_json(directory / SCHEDULER, scheduler)
        index["scheduler"] = ["diffusers", scheduler["_class_name"]]
    write_json(directory / INDEX, index)
