"""A device is data: one YAML file a device in this folder.

target   what a target says                 figures  numbers with their sources
reading  YAML → Target, by name or by path  schema   JSON Schema of the files, for editors
"""

from compress.targets.figures import ByType, Figure
from compress.targets.reading import FOLDER, load, names
from compress.targets.target import Target

__all__ = ["FOLDER", "ByType", "Figure", "Target", "load", "names"]
