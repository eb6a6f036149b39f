"""ImageClassification: batches of real files, scores of any outputs."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compress.data.preprocess import Preprocessor
from compress.errors import DataError, ModelError
from compress.tasks.base import Batch, Task, predict
from compress.tasks.image_classification import ImageClassification, kl_nats

PREPROCESSOR = Preprocessor(resize=8, crop=(8, 8))


def task_of(num_classes: int) -> ImageClassification:
    return ImageClassification(PREPROCESSOR, num_classes)


@pytest.fixture
def task(tmp_path: Path) -> ImageClassification:
    """Seven pictures, each of one shade of grey that is 30 times its label."""
    images = []
    for label in range(7):
        stream = io.BytesIO()
        Image.new("RGB", (20, 10), (30 * label,) * 3).save(stream, "PNG")
        images.append({"bytes": stream.getvalue(), "path": None})
    pq.write_table(pa.table({"image": images, "label": list(range(7))}), tmp_path / "grey.parquet")
    dataset = f"parquet:{tmp_path}/grey.parquet"
    return ImageClassification(
        PREPROCESSOR, 7, dataset, f"{dataset}[0:5]", calibration_num_samples=3, batch_size=4, calibration_batch_size=2
    )


def shade_of(batch: Batch) -> list[int]:
    """The labels, read off the pixels."""
    red = batch.inputs[:, 0, 0, 0] * PREPROCESSOR.std[0] + PREPROCESSOR.mean[0]
    return [round(float(value) * 255 / 30) for value in red]


def test_it_is_a_task(task: ImageClassification) -> None:
    as_task: Task = task
    assert as_task.name == "image_classification"


def test_batches_hold_every_image_once_in_order_and_start_anew(task: ImageClassification) -> None:
    for _ in range(2):
        batches = list(task.evaluation())
        assert len(batches) == len(task)
        assert [batch.inputs.shape for batch in batches] == [(4, 3, 8, 8), (3, 3, 8, 8)]
        assert [batch.labels.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6]]
        assert [shade_of(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6]]
        assert (batches[0].inputs.dtype, batches[0].labels.dtype) == (np.float32, np.int64)


def test_two_iterations_at_once_do_not_disturb_each_other(task: ImageClassification) -> None:
    first, second = task.evaluation(), task.evaluation()
    next(first)
    assert next(second).labels.tolist() == [0, 1, 2, 3]
    assert next(first).labels.tolist() == [4, 5, 6]


def test_calibration_is_a_drawn_part_of_its_own_dataset(task: ImageClassification) -> None:
    labels = [batch.labels.tolist() for batch in task.calibration()]
    assert [len(part) for part in labels] == [2, 1]
    drawn = [label for part in labels for label in part]
    assert drawn == sorted(set(drawn))
    assert set(drawn) <= set(range(5))
    np.testing.assert_array_equal(task.example()[0], next(task.calibration()).inputs[0])


def test_fingerprints_tell_the_data_apart(task: ImageClassification) -> None:
    prints = task.fingerprints()
    assert set(prints) == {"evaluation", "calibration"}
    assert prints["evaluation"] != prints["calibration"]
    assert prints == pickle.loads(pickle.dumps(task)).fingerprints()


def test_a_set_that_does_not_fit_the_model_is_a_data_error(task: ImageClassification) -> None:
    with pytest.raises(DataError, match="row 3: label 3, but the model has 3 classes"):
        next(ImageClassification(PREPROCESSOR, 3, task.dataset).evaluation())


def test_predict_scores_a_predictor_that_reads_the_shade(task: ImageClassification) -> None:
    def predictor(inputs: np.ndarray) -> np.ndarray:
        return np.eye(7, dtype=np.float32)[shade_of(Batch(inputs, np.zeros(len(inputs), np.int64)))]

    outputs, labels = predict(predictor, task.evaluation())
    scores = task.score(outputs, labels)
    assert scores["top1"].value == 1.0
    assert scores["top1"].low == pytest.approx(7 / (7 + 3.841459), abs=1e-6)
    assert task.compare(outputs, outputs, labels)["kl_nats"].value == 0.0


def test_scores_by_hand() -> None:
    logits = np.array(
        [
            [9, 1, 2, 3, 4, 5, 0],  # label 0: first
            [9, 8, 7, 6, 5, 4, 0],  # label 4: fifth
            [9, 8, 7, 6, 5, 4, 0],  # label 5: sixth
            [1, 1, 0, 0, 0, 0, 0],  # label 1: ties with class 0, which comes first
        ],
        dtype=np.float32,
    )
    scores = task_of(7).score(logits, np.array([0, 4, 5, 1]))
    assert (scores["top1"].value, scores["top5"].value) == (0.25, 0.75)
    assert scores["top5"].num_samples == 4


def test_top5_of_five_classes_says_nothing_and_is_left_out() -> None:
    outputs = np.eye(5, dtype=np.float32)
    assert set(task_of(5).score(outputs, np.arange(5))) == {"top1"}


def test_compare_by_hand() -> None:
    # Softmax of ln 3 and 0 is (3/4, 1/4).
    ln3 = math.log(3)
    reference = np.array([[ln3, 0], [ln3, 0], [0, ln3], [0, ln3]], dtype=np.float32)
    outputs = np.array([[ln3, 0], [0, ln3], [0, ln3], [0, 0]], dtype=np.float32)
    scores = task_of(2).compare(outputs, reference, np.array([0, 0, 0, 1]))
    assert scores["agreement"].value == 0.5  # rows 0 and 2; in row 3 the tie goes to class 0
    assert scores["top1_difference"].value == -0.5  # rows 1 and 3 were right before
    # Row 1: ¾ ln 3 − ¼ ln 3.  Row 3: ¾ ln(¾ / ½) + ¼ ln(¼ / ½).
    expected = (0.5 * ln3 + 0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 4
    assert scores["kl_nats"].value == pytest.approx(expected, rel=1e-6)
    assert scores["kl_nats"].low == 0.0
    assert scores["kl_nats"].high is not None
    assert scores["kl_nats"].high > expected


@given(st.lists(st.lists(st.floats(-80, 80, width=32), min_size=4, max_size=4), min_size=2, max_size=6))
def test_kl_is_not_negative_and_blind_to_a_shift(rows: list[list[float]]) -> None:
    logits = np.array(rows, dtype=np.float32)
    other = logits[::-1]
    assert (kl_nats(logits, other) >= 0).all()
    np.testing.assert_allclose(kl_nats(logits, logits + np.float32(16)), 0, atol=1e-4)
    np.testing.assert_array_equal(kl_nats(logits, logits), 0)


@given(st.integers(6, 12), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_top1_is_what_argmax_says_and_never_above_top5(classes: int, images: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    outputs = generator.integers(-3, 3, (images, classes)).astype(np.float32)  # many ties
    labels = generator.integers(0, classes, images)
    scores = task_of(classes).score(outputs, labels)
    assert scores["top1"].value == float((outputs.argmax(axis=1) == labels).mean())
    assert scores["top5"].value >= scores["top1"].value


@pytest.mark.parametrize("shape", [(3, 6), (4, 7), (3, 7, 1), (3,)])
def test_outputs_of_another_shape_are_a_model_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"logits \[3, 7\] are wanted"):
        task_of(7).score(np.zeros(shape, dtype=np.float32), np.arange(3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_a_model_error(value: float) -> None:
    outputs = np.zeros((3, 7), dtype=np.float32)
    broken = outputs.copy()
    broken[1, 2:4] = value
    with pytest.raises(ModelError, match="the outputs for 1 of 3 images are not finite numbers"):
        task_of(7).score(broken, np.arange(3))
    with pytest.raises(ModelError, match="not finite"):
        task_of(7).compare(outputs, broken, np.arange(3))
