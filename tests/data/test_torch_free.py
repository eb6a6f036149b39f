"""Artefacts are scored where torch is not installed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["torch"] = sys.modules["timm"] = sys.modules["transformers"] = sys.modules["foolbox"] = None
import io, numpy, pyarrow, pyarrow.parquet, PIL.Image
import compress.models.load
from compress.data.preprocess import Preprocessor
from compress.tasks.image_classification import ImageClassification
stream = io.BytesIO()
PIL.Image.new("RGB", (40, 30), (255, 0, 0)).save(stream, "JPEG")
table = pyarrow.table({"image": [{"bytes": stream.getvalue(), "path": None}] * 3, "label": [0, 1, 5]})
pyarrow.parquet.write_table(table, sys.argv[1])
dataset = f"parquet:{sys.argv[1]}"
task = ImageClassification(Preprocessor(8, (8, 8)), num_classes=6, dataset=dataset, calibration_dataset=dataset)
batch, = task.evaluation()
assert batch.inputs.shape == (3, 3, 8, 8), batch.inputs.shape
outputs = numpy.eye(6, dtype="float32")[[0, 1, 2]]
assert task.score(outputs, batch.labels)["top1"].value == 2 / 3
assert task.compare(outputs, outputs, batch.labels)["agreement"].value == 1
assert len(task.fingerprints()["evaluation"]) == 64
"""


def test_data_and_tasks_work_without_torch(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, f"{tmp_path}/a.parquet"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
