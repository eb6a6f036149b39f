"""Which scheduler a pipeline is sampled by: its own, or another on the same levels of noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.errors import ModelError
from compress.models.denoisers.schedule import own_settings
from compress.models.loaded import told

# By the names that recipes have for them.
SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
    "pndm": "PNDMScheduler",
}
# What Stable Diffusion wants, and diffusers' pipelines make of a config, whatever it says.
_SETTLED = {"steps_offset": 1, "clip_sample": False, "skip_prk_steps": True}


def sampling_config(config: Mapping[str, Any], wanted: str | None, where: str) -> dict[str, Any]:
    """The scheduler_config.json that ships, all its settings spelt out.

    config  of the pipeline's own scheduler.
    wanted  one of `SCHEDULERS`; None: its own.

    Raises ModelError for a scheduler of its own that is none of those, or a config that diffusers does not take.
    """
    import diffusers

    own = config["_class_name"]
    if wanted is None and own not in SCHEDULERS.values():
        raise ModelError(
            f"{where}: its scheduler is {own}, which is not known here: write task.text_to_image.scheduler: "
            f"one of {', '.join(SCHEDULERS)}"
        )
    name = own if wanted is None else SCHEDULERS[wanted]
    with told(f"{where}: {name}"):
        made = getattr(diffusers, name).from_config(dict(config))
    found = own_settings(made.config)
    found |= {key: value for key, value in _SETTLED.items() if key in found}
    if found.get("lambda_min_clipped") == -float("inf"):  # its default, which JSON cannot hold
        del found["lambda_min_clipped"]
    return {"_class_name": name, **found}
