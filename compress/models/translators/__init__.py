"""Translators: how they come in, one file a kind of source, each checked before any work is done on it.

Each kind is a module with `load(source) -> LoadedTranslator` and `blank(source) -> model on the meta device`; this one
chooses among them and holds what they return to the same promises.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from compress.errors import ModelError, require, unknown
from compress.models.source import TEXT_KINDS, ModelSource
from compress.models.translators.loaded import LoadedTranslator, check_fits

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoadedTranslator", "load_translator", "model_layer_names"]


def load_translator(source: ModelSource, *, allow_code: bool = False) -> LoadedTranslator:
    """The translator that `source` names, in eval mode and float32, with its tokenizer and default prompt.

    No source of a translator runs code that is not this package's own or transformers', whatever `allow_code` says.

    Raises ModelError for a model that cannot be had (with how to get it), is damaged or lacks weights, holds NaN or
    infinite weights, is of an architecture that is not known, or has a tokenizer that does not fit; MissingExtra
    without torch or transformers.
    """
    from compress.models.finite import check_finite

    loaded = _module(source).load(source)
    loaded.model.float().eval()
    if not loaded.random_weights:
        check_finite(loaded.model, source.source)
    check_fits(loaded, source.source)
    _name_padding(loaded)
    return loaded  # type: ignore[no-any-return]


def model_layer_names(source: ModelSource) -> dict[str, nn.Module]:
    """The layers by name, their weights not loaded: what selectors can match.

    Built on the meta device, where a weight takes neither time nor memory.  Raises ModelError for an unknown model.
    """
    from compress.models.layers import weighted_layers

    return dict(weighted_layers(_module(source).blank(source), embeddings=True))


def _module(source: ModelSource) -> ModuleType:
    """The module of a kind of source.  Raises ModelError for one that has no translators."""
    require("torch", "loading a translator", "torch")
    require("transformers", "loading a translator", "torch")
    # Imported here: they bring torch.
    from compress.models.translators import directory, gguf, new, package, shape

    modules = {"gguf": gguf, "hf": directory, "new": new, "package": package, "path": directory, "random": shape}
    if source.kind not in modules:
        raise ModelError(unknown("kind of translator", source.kind, TEXT_KINDS))
    return modules[source.kind]


def _name_padding(loaded: LoadedTranslator) -> None:
    """A model that names no padding token is padded with its end token; the mask hides either."""
    settings = loaded.model.generation_config
    if settings.pad_token_id is None:
        ends = settings.eos_token_id
        settings.pad_token_id = ends[0] if isinstance(ends, list) else ends
