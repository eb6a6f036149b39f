"""The denoisers that can be compressed, and which of them a config or a graph is.  No torch."""

from __future__ import annotations

from collections.abc import Iterable

from compress.errors import ModelError
from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.dit import DIT
from compress.models.denoisers.pixart import PIXART
from compress.models.denoisers.unet import UNET

KNOWN = (UNET, PIXART, DIT)
# What diffusers called several transformers once; their norms tell which it is.
LEGACY = "Transformer2DModel"
_OF_NORMS = {"ada_norm_single": PIXART.class_name, "ada_norm_zero": DIT.class_name}


def architecture_of(config: Config, where: str) -> Architecture:
    """By the class that the config names, a UNet's if it names none.  Raises ModelError for any other class."""
    name = config.get("_class_name", UNET.class_name)
    if name == LEGACY:
        name = _OF_NORMS.get(str(config.get("norm_type")), name)
    for known in KNOWN:
        if known.class_name == name:
            return known
    told = ", ".join(known.class_name for known in KNOWN)
    raise ModelError(f"{where}: _class_name is {name}: of diffusers only {told} can be compressed here")


def architecture_taking(names: Iterable[str]) -> Architecture | None:
    """The one whose graph has inputs of these names; None: there is none."""
    wanted = set(names)
    return next((known for known in KNOWN if set(known.kinds) == wanted), None)
