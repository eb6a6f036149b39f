"""What lies in the directory of a generator, as diffusers' pipelines lay it out, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError
from compress.files import read_mapping
from compress.models.denoisers.schedule import INDEX, SCHEDULER
from compress.models.generators.sampling import Sampling
from compress.runtime.artefact import TRANSFORMER
from compress.runtime.evaluated_steps import noted_steps, read_steps
from compress.runtime.images.scheduler import CLASS_NAME, FlowMatchEuler

_PIPELINE = "ClassConditionalFlowPipeline"


@dataclass(frozen=True)
class Parts:
    """labels: the name of each class."""

    scheduler: FlowMatchEuler
    sampling: Sampling
    labels: tuple[str, ...]


def index_of(sampling: Sampling, labels: Sequence[str]) -> dict[str, Any]:
    """model_index.json: where each part comes from, and what a pipeline is called with."""
    return {
        "_class_name": _PIPELINE,
        "scheduler": ["diffusers", CLASS_NAME],
        "transformer": ["onnxruntime", "InferenceSession"],
        "num_inference_steps": sampling.num_steps,
        "guidance_scale": sampling.guidance_scale,
        **noted_steps(sampling.evaluated),
        "id2label": {str(number): label for number, label in enumerate(labels)},
    }


def read_parts(directory: Path) -> Parts:
    """Raises ArtefactError for a part that is missing, damaged, or does not fit the others."""
    for name in (INDEX, SCHEDULER, TRANSFORMER):
        if not (directory / name).is_file():
            what = "no such directory" if not directory.is_dir() else f"holds no {name}"
            raise ArtefactError(f"{directory}: {what}: name the directory of a generator, with all its parts")
    index, scheduler = (
        read_mapping(directory / INDEX, ArtefactError),
        read_mapping(directory / SCHEDULER, ArtefactError),
    )
    euler = FlowMatchEuler.from_config(scheduler, str(directory / SCHEDULER))
    names = index.get("id2label")
    numbers = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
    if not isinstance(names, dict) or not numbers or set(names) != set(numbers):
        raise ArtefactError(f"{directory / INDEX}: id2label does not name classes 0, 1, …")
    steps, guidance = index.get("num_inference_steps"), index.get("guidance_scale")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ArtefactError(f"{directory / INDEX}: num_inference_steps is {steps}: a number of steps is wanted")
    if guidance is not None and (isinstance(guidance, bool) or not isinstance(guidance, int | float)):
        raise ArtefactError(f"{directory / INDEX}: guidance_scale is {guidance}: a number is wanted, or null")
    labels = tuple(str(names[number]) for number in numbers)
    evaluated = read_steps(index, directory / INDEX, steps)
    return Parts(euler, Sampling(steps, guidance, euler.shift, evaluated), labels)
