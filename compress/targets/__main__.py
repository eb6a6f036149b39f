"""`python -m compress.targets > compress/target.schema.json` writes the JSON Schema anew."""

import sys

from compress.targets.schema import as_text

sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
sys.stdout.write(as_text())
