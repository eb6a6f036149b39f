"""The denoisers that can be compressed, and which of them a config or a graph is.  No torch."""

from __future__ import annotations

from collections.abc import Iterable

from compress.errors import ModelError
from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.dit import DIT
from compress.models.denoisers.flux import FLUX, FLUX_GUIDED, is_told_guidance
from compress.models.denoisers.pixart import PIXART
from compress.models.denoisers.sana import SANA
from compress.models.denoisers.sd3 import SD3
from compress.models.denoisers.unet import UNET
from compress.models.denoisers.unet_plain import UNET_OF_CLASSES, UNET_PLAIN, is_told_a_class
from compress.models.denoisers.unet_xl import UNET_XL, is_config

KNOWN = (UNET, UNET_XL, UNET_PLAIN, UNET_OF_CLASSES, PIXART, DIT, SD3, SANA, FLUX, FLUX_GUIDED)
# What diffusers called several transformers once; their norms tell which it is.
LEGACY = "Transformer2DModel"
_OF_NORMS = {"ada_norm_single": PIXART.class_name, "ada_norm_zero": DIT.class_name}


def architecture_of(config: Config, where: str) -> Architecture:
    """By the class that the config names, a UNet's if it names none.  Raises ModelError for any other class."""
    name = config.get("_class_name", UNET.class_name)
    if name == LEGACY:
        name = _OF_NORMS.get(str(config.get("norm_type")), name)
    if name == UNET.class_name:
        return UNET_XL if is_config(config) else UNET
    if name == UNET_PLAIN.class_name:
        return UNET_OF_CLASSES if is_told_a_class(config) else UNET_PLAIN
    if name == FLUX.class_name:
        return FLUX_GUIDED if is_told_guidance(config) else FLUX
    for known in KNOWN:
        if known.class_name == name:
            return known
    told = ", ".join(dict.fromkeys(known.class_name for known in KNOWN))
    raise ModelError(f"{where}: _class_name is {name}: of diffusers only {told} can be compressed here")


def architecture_taking(names: Iterable[str], class_name: str | None = None) -> Architecture | None:
    """The one whose graph has inputs of these names, that of the class where several have; None: there is none."""
    wanted = set(names)
    taking = [known for known in KNOWN if set(known.kinds) == wanted]
    return next((known for known in taking if known.class_name == class_name), taking[0] if taking else None)
