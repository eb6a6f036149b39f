"""Images in 8 evaluations instead of 100: guidance is folded in, many steps become few, weights 4 bits; then a picture.

The trainings take seconds here, their images are rough; `compress run digits-flow-8-steps-w4` trains for minutes.

python examples/09_images_in_few_steps.py [OUT.png]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from compress import parse, run
from compress.report.sheet import draw_sheet
from compress.runtime.images import open_generator

RECIPE = """
name: digits-few-steps
model: flow:digits
task: {image_generation: {dataset: digits, num_images: 20, batch_size: 20}}
calibration: {dataset: digits, num_samples: 256}
passes:
  - distill.guidance: {epochs: null, max_steps: 20, batch_size: 32, learning_rate: 1.0e-3, ema: 0.9}
  - distill.steps: {steps: 8, rounds: 1, epochs: null, max_steps: 10, batch_size: 32, ema: 0.9}
  - quantize.weights: {num_bits: 4, strategy: group, group_size: 32}
target: x86-vnni
evaluate: {latency_runs: 5}
"""


def main(runs: Path, picture: Path) -> None:
    row = run(parse(RECIPE), output=runs)
    assert row.evaluations is not None
    print(f"{row.model_bytes:,} bytes of {row.float_model_bytes:,}, {row.evaluations.per_image} evaluations an image")
    print(f"PSNR to the images of 100 evaluations {row.scores['psnr_db'].value:.1f} dB")
    [teacher] = runs.glob("*-float-*/artefact")
    digits = list(range(10))
    given = [(each.parent.name, open_generator(each)(digits, seeds=digits)) for each in (teacher, Path(row.artefact))]
    draw_sheet(given, picture)  # of each digit the same noise, by the teacher and by what was made of it
    print(f"{picture}: {len(digits)} digits of each")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name), Path(sys.argv[1] if len(sys.argv) > 1 else "digits.png"))
