"""A sweep: one recipe in its variants, two at a time as tasks of Ray, or one after another where Ray is not installed
(pip install 'compress-toolkit[ray]').  The same on a command line, and on a cluster that runs already:

    compress sweep digits.yaml --vary passes.quantize.weights.num_bits=4,8 --engine ray --address auto

python examples/10_a_sweep_on_ray.py
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

import compress
from compress.place import RunOptions
from compress.progress import LineReporter
from compress.sweeping.local import run_local
from compress.sweeping.ray import Resources, run_on_ray
from compress.sweeping.variants import parse_variation, read_variants

RECIPE = """
name: digits
model: flow:digits
task: {image_generation: {dataset: "digits[0:200]", num_images: 10, batch_size: 10}}
calibration: {dataset: digits, num_samples: 8}
passes: [quantize.weights: {num_bits: 8, strategy: group, group_size: 32}]
target: x86-vnni
evaluate: {latency_runs: 5, threads: 1, float_model: false}
"""


def main() -> None:
    Path("digits.yaml").write_text(RECIPE)
    jobs = read_variants(["digits.yaml"], [], [parse_variation("passes.quantize.weights.num_bits=4,8")])
    options, reporter = RunOptions(Path("runs")), LineReporter()
    if importlib.util.find_spec("ray") is None:
        print("Ray is not installed: one after another in this process")
        outcomes = run_local(jobs, options, reporter)
    else:
        outcomes = run_on_ray(jobs, options, Resources(jobs=2), reporter)
    for outcome in outcomes:  # a variant that fails does not stop the others
        print(outcome.told())
    print(compress.render([outcome.row for outcome in outcomes if outcome.row is not None]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        main()
