"""What may be imported without torch: opening, running, verifying and tabulating artefacts, and checking recipes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import compress

ROOT = Path(compress.__file__).parent
# Packages and modules of the base install; the rest of `models` and `exporter`, and `numerics`, are torch's.
BASE = (
    "cli",
    "data",
    "devices",
    "passes",
    "published",
    "recipe",
    "reference",
    "report",
    "runtime",
    "sweeping",
    "targets",
    "tasks",
)
BASE_MODULES = ("errors", "fingerprint", "place", "preflight", "progress", "results", "shipped", "stages")
BASE_MODULES += (
    "models.selectors",
    "models.source",
    "models.denoisers.schedule",
    "exporter.lint",
    "pipeline",
    "plan",
    "applying",
    "budget",
    "exporting",
    "exporter.gguf",
)
IMPORT = "import importlib, sys\nfor name in ('torch', 'torchvision', 'timm', 'transformers', 'onnxscript'):\n"
IMPORT += "    sys.modules[name] = None\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"


def test_the_base_install_needs_no_torch() -> None:
    files = [path.relative_to(ROOT) for package in BASE for path in sorted((ROOT / package).rglob("*.py"))]
    modules = [".".join(("compress", *path.with_suffix("").parts)).removesuffix(".__init__") for path in files]
    modules += [f"compress.{name}" for name in BASE_MODULES]
    done = subprocess.run([sys.executable, "-c", IMPORT, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(modules) > 50
