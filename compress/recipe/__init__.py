"""Recipes: YAML ⇄ Recipe.  The only place that parses what a user writes about a run.

sections     Recipe and its sections, as frozen dataclasses; image_sections: those of tasks that make images
yaml_source  YAML text → nodes that know their lines        tree       nodes, places, the list of problems
sources      the file, what it extends, the overrides       overrides  --set key.path=value
reading      one node → one typed value, by pydantic        parsing    the whole: parse
writing      Recipe → plain data, YAML                      schema     JSON Schema for editors
"""

from compress.recipe.image_sections import DenoisingSpec, ImageGenerationSpec, TextToImageSpec
from compress.recipe.parsing import parse
from compress.recipe.reading import describe
from compress.recipe.schema import json_schema
from compress.recipe.sections import (
    TASKS,
    Budget,
    Calibration,
    Evaluate,
    Export,
    ImageClassificationSpec,
    Preprocess,
    Recipe,
    TaskSpec,
    TranslationSpec,
)
from compress.recipe.writing import dump, dump_yaml
from compress.schemas import schema_of

__all__ = [
    "TASKS",
    "Budget",
    "Calibration",
    "DenoisingSpec",
    "Evaluate",
    "Export",
    "ImageClassificationSpec",
    "ImageGenerationSpec",
    "Preprocess",
    "Recipe",
    "TaskSpec",
    "TextToImageSpec",
    "TranslationSpec",
    "describe",
    "dump",
    "dump_yaml",
    "json_schema",
    "parse",
    "schema_of",
]
