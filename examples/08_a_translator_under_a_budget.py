"""A translator that has so many bytes and no more: of each layer the bits that lose least, chosen by the budget.

Its weights are random, so that this takes seconds: sizes are true, translations mean nothing.  For a real one write
`model: hf:Helsinki-NLP/opus-mt-en-fr` (or package:gemma-3-270m, hf:facebook/nllb-200-distilled-600M), a larger budget,
`algorithm: gptq`, and leave the `num_…` of the task out.

python examples/08_a_translator_under_a_budget.py
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import compress
from compress.errors import CompressError

RECIPE = """
name: translator-{budget}
model: random:tiny-marian
task: {{translation: {{pairs: [en-fr], num_likelihood: 4, num_translations: 1, max_new_tokens: 8}}}}
calibration: {{dataset: "demo[3:72]", num_samples: 8, max_seq_length: 64}}
passes:
  - quantize.weights:
      num_bits: auto
      choices: [2, 3, 4, 8]
      strategy: group
      group_size: 32
      symmetric: false
  - quantize.weights: {{targets: ["role:embedding"], num_bits: 8, strategy: group, group_size: 32, symmetric: false}}
target: x86-vnni
budget: {{model_size: {budget}}}
"""


def main(runs: Path) -> None:
    for budget in ("180kB", "90kB"):
        recipe = compress.parse(RECIPE.format(budget=budget))
        try:
            row = compress.run(recipe, output=runs)
        except CompressError as error:
            print(f"{budget}: {error}")  # it says which size can be reached
            continue
        weights = compress.open_artefact(row.artefact).manifest["quantization"]["weights"].values()
        counts = sorted(Counter(weight["num_bits"] for weight in weights).items())
        told = ", ".join(f"{count} layers in {bits} bits" for bits, count in counts)
        print(f"{budget}: {row.model_bytes:,} bytes of {row.float_model_bytes:,}: {told}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
