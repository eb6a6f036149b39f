"""How much of a latent is signal at each timestep, as a scheduler's config says.  No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import CompressError
from compress.models.denoisers.schedule import NUM_TRAIN_TIMESTEPS

_LARGEST_BETA = 0.999  # of the cosine schedule
_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")


def signal_shares(config: Mapping[str, Any], where: str, error: type[CompressError]) -> NDArray[np.float64]:
    """The variance of a latent at each timestep that is signal, the rest being noise: [timesteps], falling.

    It is the product of 1 − beta up to there: Ho et al. 2020, arXiv:2006.11239, eq. 4, there ᾱ.
    Raises `error` for betas that diffusers' schedulers do not know, or that are no numbers between 0 and 1.
    """
    given, kind = config.get("trained_betas"), config.get("beta_schedule", "linear")
    count = config.get("num_train_timesteps", NUM_TRAIN_TIMESTEPS)
    first, last = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if config.get("rescale_betas_zero_snr"):
        raise error(f"{where}: rescale_betas_zero_snr is true: only false is known here")
    betas: NDArray[np.floating[Any]]
    if given is not None:
        betas = np.asarray(given, np.float64)
    elif kind == "linear":
        betas = np.linspace(first, last, count)
    elif kind == "scaled_linear":
        betas = np.linspace(first**0.5, last**0.5, count) ** 2
    elif kind == "squaredcos_cap_v2":
        left = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - left[1:] / left[:-1], _LARGEST_BETA)
    else:
        raise error(f"{where}: beta_schedule is {kind}: one of {', '.join(_SCHEDULES)} is wanted")
    if betas.shape != (count,) or not ((betas > 0) & (betas < 1)).all():
        raise error(f"{where}: its betas are not {count} numbers between 0 and 1")
    shares: NDArray[np.float64] = np.cumprod(1 - betas)
    return shares
