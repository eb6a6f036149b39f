"""compress: a recipe turns an open model into the smallest file that still does the job, and a table proves it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from compress.applying import apply as apply
    from compress.errors import CompressError as CompressError
    from compress.exporter import export as export
    from compress.pipeline import run as run
    from compress.preparing import prepare as prepare
    from compress.recipe import Recipe as Recipe
    from compress.recipe import parse as parse
    from compress.report.table import render as render
    from compress.runtime.artefact import Artefact as Artefact
    from compress.runtime.artefact import open_artefact as open_artefact
    from compress.runtime.measure import measure as measure
    from compress.runtime.session import open_session as open_session
    from compress.tasks.image_classification import ImageClassification as ImageClassification

# Where each public name lives: it is imported when it is first asked for, so that `import compress` costs nothing.
_PLACES = {
    "Artefact": "compress.runtime.artefact",
    "CompressError": "compress.errors",
    "ImageClassification": "compress.tasks.image_classification",
    "Recipe": "compress.recipe",
    "apply": "compress.applying",
    "export": "compress.exporter",
    "measure": "compress.runtime.measure",
    "open_artefact": "compress.runtime.artefact",
    "open_session": "compress.runtime.session",
    "parse": "compress.recipe",
    "prepare": "compress.preparing",
    "render": "compress.report.table",
    "run": "compress.pipeline",
}

__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
    module = importlib.import_module(_PLACES[name])
    globals()[name] = getattr(module, name)  # from now on without this detour; also where a submodule has the name
    return globals()[name]
