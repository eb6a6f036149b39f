"""Schedule: the timesteps that a denoiser was trained on, as its scheduler_config.json says.  No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.files import read_mapping

# Of diffusers' directories, whatever they hold.
INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
NUM_TRAIN_TIMESTEPS = 1000  # of diffusers' schedulers, where nothing else is said
PREDICTIONS = ("epsilon", "v_prediction", "sample")
FLOW_PREDICTIONS = ("flow_prediction",)  # where schedulers of noise levels serve flows


@dataclass(frozen=True)
class Schedule:
    """config  of diffusers' scheduler, as it ships; None: the source has none.
    num_train_timesteps  the denoiser knows timesteps 0 … this − 1.
    """

    config: Mapping[str, Any] | None = None
    num_train_timesteps: int = NUM_TRAIN_TIMESTEPS

    def timesteps(self, count: int) -> NDArray[np.float32]:
        """[count] whole timesteps, spread evenly from noise to image: the middles of as many equal parts."""
        places = (np.arange(count, dtype=np.float64)[::-1] + 0.5) / count
        return np.floor(places * self.num_train_timesteps).astype(np.float32)


def own_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what diffusers notes of itself: class, version, where it came from."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


def read_schedule(directory: Path, *, flows: bool = False) -> Schedule:
    """Of a pipeline's directory; one that has no scheduler: diffusers' 1000 timesteps.  Raises ModelError."""
    path = directory / SCHEDULER
    return schedule_of(read_mapping(path, ModelError), str(path), flows=flows) if path.is_file() else Schedule()


def schedule_of(config: Mapping[str, Any], where: str, *, flows: bool = False) -> Schedule:
    """flows: of a denoiser that gives velocities.

    Raises ModelError for a scheduler that such a denoiser cannot be sampled by.
    """
    name = config.get("_class_name")
    if not isinstance(name, str) or "Scheduler" not in name:
        raise ModelError(f"{where}: _class_name is {name}: the name of a scheduler of diffusers is wanted")
    is_flow_match, prediction = name.startswith("FlowMatch"), config.get("prediction_type", PREDICTIONS[0])
    if is_flow_match and not flows:
        raise ModelError(
            f"{where}: the scheduler is {name}, whose steps follow velocities: a denoiser here wants one of noise "
            f"levels, such as DDIMScheduler or PNDMScheduler"
        )
    known = FLOW_PREDICTIONS if flows else PREDICTIONS
    if not is_flow_match and prediction not in known:
        told = ", or a scheduler such as FlowMatchEulerDiscreteScheduler" if flows else ""
        raise ModelError(f"{where}: prediction_type is {prediction}: one of {', '.join(known)} is wanted{told}")
    count = config.get("num_train_timesteps", NUM_TRAIN_TIMESTEPS)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ModelError(f"{where}: num_train_timesteps is {count}: a number of timesteps is wanted")
    return Schedule(dict(config), count)
