"""What a job says of its data."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from compress.jobs import kind_of
from compress.recipe import parse


def test_images_of_folders_are_hashed_with_the_classes_that_the_model_gives_them(tmp_path: Path) -> None:
    for number, name in enumerate(("bee", "cat")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), (number * 90, 10, 20)).save(tmp_path / name / "1.png")
    recipe = parse(
        f"""
name: few
model: {{source: "torchvision:resnet18", weights: random, num_classes: 3, labels: [ant, bee, cat]}}
task: {{image_classification: {{dataset: "folder:{tmp_path}"}}}}
"""
    )
    kind = kind_of(recipe)
    job = kind.load(recipe, False)
    found = job.data_sha256()
    # What verify compares it with comes from the artefact's own labels: bee is class 1 there, and not 0.
    assert found == {"evaluation": job.task.evaluation_images.fingerprint()}
    assert found != kind.fingerprints(recipe)
