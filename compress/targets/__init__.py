"""A device is data: one YAML file a device in this folder.

target   what a target says                 figures  numbers with their sources
reading  YAML → Target, by name or by path  schema   JSON Schema of the files, for editors
"""

from compress.targets.figures import ByType, Figure
from compress.targets.reading import FOLDER, WrongTarget, from_plain, load, names, plain
from compress.targets.target import Target

__all__ = ["FOLDER", "ByType", "Figure", "Target", "WrongTarget", "from_plain", "load", "names", "plain"]
