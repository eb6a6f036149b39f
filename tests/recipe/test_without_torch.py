"""Recipes are checked where torch is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import compress

CODE = """
import sys
for name in ("torch", "torchvision", "timm", "transformers", "onnx", "onnxruntime", "pyarrow", "PIL", "datasets"):
    sys.modules[name] = None  # importing it raises ImportError
import compress.models.source, compress.recipe, compress.targets
from compress.passes import REGISTRY
from compress.recipe import dump, json_schema, parse

keyed = json_schema()["properties"]["passes"]["items"]["anyOf"][-1]["properties"]
bare = [name for name, one in keyed.items() if not any(part.get("required") for part in (one, *one.get("anyOf", ())))]
generic = compress.targets.load("generic")
bare = [name for name in bare if not REGISTRY[name]().problems(generic)]  # some want one of two fields
bare = [name for name in bare if not REGISTRY[name]().task_problems("image_classification", ())]
text = "name: x\\nmodel: timm:resnet18\\ntask: image_classification\\npasses: [" + ", ".join(bare) + "]\\n"
recipe = parse(text)
assert parse(dump(recipe)) == recipe
print(len(recipe.passes))
"""


def test_no_heavy_import_is_needed_to_parse_check_dump_and_describe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, cwd=Path(compress.__file__).parent.parent
    )
    assert done.stderr == ""
    assert int(done.stdout) >= 1
