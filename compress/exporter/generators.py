"""export_generator(): a model that makes images → the directory that ships, in the layout of diffusers' pipelines.

model_index.json                  the parts, how many steps and which guidance, and the names of the classes
transformer/model.onnx            the velocity: (hidden_states, timestep, class_labels) → out_sample
transformer/config.json           sizes of the model
scheduler/scheduler_config.json   that of FlowMatchEulerDiscreteScheduler
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ParityError, require
from compress.exporter.card import Card
from compress.exporter.directory import appearing, describe, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from compress.runtime.artefact import Artefact
    from compress.targets import Target


def export_generator(
    model: nn.Module,
    example: tuple[Tensor, ...],
    directory: str | Path,
    *,
    target: Target | str,
    labels: Sequence[str],
    lock: Mapping[str, Any] | None = None,
    card: Card | None = None,
    force: bool = False,
) -> Artefact:
    """Write the artefact of `model` into `directory`, which appears all at once, and return it.

    example  real inputs (hidden_states [N, C, H, W], timestep [N], class_labels [N]), on which the file and the torch
             model are compared.
    labels   of the classes, in order.
    lock     what decided the result: recipe, seed, versions, hashes of the data.
    card     what the model card says beside the numbers.
    force    replace a directory that is there.

    Raises ArtefactError for a directory that exists; ModelError for a model that ONNX cannot express; ParityError if
    the file and the torch model are not the same function.
    """
    require("torch", "exporting a model", "torch")
    require("onnxscript", "exporting a model", "torch")
    from compress import __version__, targets
    from compress.exporter.build import build
    from compress.exporter.graph import Signature
    from compress.exporter.tidy import write
    from compress.models.denoisers.schedule import INDEX, SCHEDULER
    from compress.models.generators.noted import config_of, sampling_of
    from compress.runtime.artefact import TRANSFORMER, open_artefact
    from compress.runtime.images.denoiser import INPUTS, OUTPUT, open_denoiser
    from compress.runtime.images.directory import index_of
    from compress.runtime.images.scheduler import FlowMatchEuler

    directory, card = Path(directory), card or Card(task="unconditional-image-generation")
    target = targets.load(target) if isinstance(target, str) else target
    signature, config = Signature(INPUTS, OUTPUT), config_of(model)
    with appearing(directory, force) as partial:
        graph = partial / TRANSFORMER
        graph.parent.mkdir()
        write(
            build(model, tuple(each[:1] for each in example), target, signature), graph, target, __version__, signature
        )
        model_bytes = sum(file.stat().st_size for file in graph.parent.iterdir())
        check_velocities(model, open_denoiser(graph), example, str(directory / TRANSFORMER), half=target.is_half)
        write_json(graph.parent / "config.json", {"_class_name": type(model).__name__, **config.to_dict()})
        (partial / SCHEDULER).parent.mkdir()
        write_json(partial / SCHEDULER, FlowMatchEuler(config.shift).to_config())
        write_json(partial / INDEX, index_of(sampling_of(model), labels))
        describe(partial, model, target, card, model_bytes, lock, None)
    return open_artefact(directory)


def check_velocities(
    model: nn.Module,
    denoiser: Callable[..., NDArray[np.float32]],
    example: tuple[Tensor, ...],
    where: str,
    *,
    half: bool = False,
) -> None:
    """Raise ParityError if the file and the torch model are further apart than `compress.exporter.parity` allows.

    half  whether the file computes in float16.
    """
    import torch

    from compress.exporter.parity import distance, outputs_of

    with torch.no_grad():
        reference, unrounded = outputs_of(model, lambda: model(*example).numpy())
    found = denoiser(*(each.numpy() for each in example))
    apart = distance(found, reference, unrounded, where, half=half)
    if apart.is_too_far:
        of_spread = unrounded is not None
        raise ParityError(
            f"{where}: not the same function as the torch model: on {len(found)} inputs the velocities differ by "
            f"{apart.rms_difference if of_spread else apart.max_difference:.2g} of their "
            f"{'spread' if of_spread else 'largest'}; allowed is {apart.limit:.2g}"
        )
