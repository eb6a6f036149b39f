"""Datasets: what is read, in which order, and what is told when it cannot be."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compress.data.images import open_images
from compress.errors import DataError, MissingExtra

Make = Any


def test_parquet_yields_images_and_labels_in_order_as_often_as_wanted(encode: Make, write_parquet: Make) -> None:
    images = [encode(seed, size=(10 + seed, 7)) for seed in range(70)]  # more than are read at once
    path = write_parquet(images, list(range(70)), row_group_size=9)
    dataset = open_images(f"parquet:{path}", num_classes=70)
    assert len(dataset) == 70
    for _ in range(2):
        seen = [(image.mode, image.size, label) for image, label in dataset]
        assert seen == [("RGB", (10 + i, 7), i) for i in range(70)]


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (3, 4), (8, 11), (9, 18), (17, 30), (29, 30)])
def test_a_slice_takes_those_rows(encode: Make, write_parquet: Make, start: int, stop: int) -> None:
    path = write_parquet([encode()] * 30, list(range(30)), row_group_size=9)
    dataset = open_images(f"parquet:{path}[{start}:{stop}]")
    assert [label for _, label in dataset] == list(range(start, stop))
    assert len(dataset) == stop - start


def test_files_of_a_pattern_are_one_set_in_the_order_of_their_names(encode: Make, write_parquet: Make) -> None:
    write_parquet([encode()] * 3, [3, 4, 5], "part-1.parquet")
    path = write_parquet([encode()] * 3, [0, 1, 2], "part-0.parquet")
    dataset = open_images(f"parquet:{path.parent}/part-*.parquet[1:5]")
    assert [label for _, label in dataset] == [1, 2, 3, 4]
    assert [sample.where.rpartition(": ")[2] for sample in dataset.samples()] == ["row 1", "row 2", "row 3", "row 4"]


def test_a_column_of_plain_bytes_is_read_too(encode: Make, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [encode(1)], "label": [4], "extra": ["x"]}), tmp_path / "a.parquet")
    assert [label for _, label in open_images(f"parquet:{tmp_path}/a.parquet")] == [4]


def test_memory_does_not_grow_with_the_set(write_parquet: Make) -> None:
    quarter = np.random.default_rng(0).bytes(1 << 18)
    path = write_parquet([quarter] * 200, [0] * 200, use_dictionary=False, write_batch_size=1)
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() - before for _ in open_images(f"parquet:{path}").samples())
    assert 0 < peak < 15 << 20  # the file holds 50 MB in one row group


def test_the_fingerprint_is_of_images_and_labels_alone(encode: Make, write_parquet: Make, tmp_path: Path) -> None:
    images = [encode(seed) for seed in range(3)]
    digest = hashlib.sha256()
    for image, label in zip(images, (b"0", b"1", b"2"), strict=True):
        digest.update(len(image).to_bytes(8, "little") + image + (1).to_bytes(8, "little") + label)
    for number, image in enumerate(images):
        (tmp_path / "folder" / str(number)).mkdir(parents=True)
        (tmp_path / "folder" / str(number) / "a.png").write_bytes(image)
    path = write_parquet(images, [0, 1, 2])
    parquet, folder = open_images(f"parquet:{path}"), open_images(f"folder:{tmp_path}/folder")
    assert parquet.fingerprint() == folder.fingerprint() == digest.hexdigest()
    others = [
        open_images(f"parquet:{path}[0:2]"),
        open_images(f"parquet:{write_parquet(images, [0, 1, 1], 'b.parquet')}"),
        open_images(f"parquet:{write_parquet(images[::-1], [0, 1, 2], 'c.parquet')}"),
    ]
    assert len({parquet.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_a_sample_is_drawn_by_its_seed_and_keeps_the_order(encode: Make, write_parquet: Make) -> None:
    dataset = open_images(f"parquet:{write_parquet([encode()] * 40, list(range(40)))}[5:40]")
    drawn = [[label for _, label in dataset.sample(10, seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] == sorted(set(drawn[0]))
    assert drawn[0] != drawn[2]
    assert len(drawn[0]) == 10
    assert set(drawn[0]) <= set(range(5, 40))
    assert dataset.sample(None) is dataset.sample(35) is dataset.sample(99) is dataset


def test_damaged_parquet_is_a_data_error(encode: Make, write_parquet: Make, tmp_path: Path) -> None:
    whole = write_parquet([encode()] * 20, [0] * 20).read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"label,image\n" * 50}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name} is damaged or not a parquet file \({len(content)} bytes\): "):
            open_images(f"parquet:{tmp_path}/{name}")


def test_a_damaged_page_is_a_data_error(encode: Make, write_parquet: Make) -> None:
    path = write_parquet([encode(i) for i in range(20)], [0] * 20, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(content)
    dataset = open_images(f"parquet:{path}")  # the labels are whole
    with pytest.raises(DataError, match="is damaged or not a parquet file"):
        list(dataset)


def test_an_undecodable_image_is_named_by_its_row(encode: Make, write_parquet: Make) -> None:
    path = write_parquet([encode(), encode(), b"oops", None], [0, 0, 0, 0])
    with pytest.raises(DataError, match=r"images.parquet\[1:\]': row 2: not an image that can be decoded"):
        list(open_images(f"parquet:{path}[1:]"))
    with pytest.raises(DataError, match="row 3: the image has no bytes"):
        list(open_images(f"parquet:{path}[3:]"))


def test_missing_columns_are_told_with_those_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"img": [b"x"], "label": [0]}), path)
    with pytest.raises(DataError, match=r"a\.parquet has no column 'image'; its columns are: img, label"):
        open_images(f"parquet:{path}")
    pq.write_table(pa.table({"image": [b"x"], "label": ["cat"]}), path)
    with pytest.raises(DataError, match="column 'label' holds string: class numbers are wanted"):
        open_images(f"parquet:{path}")
    pq.write_table(pa.table({"image": ["x.png"], "label": [0]}), path)
    with pytest.raises(DataError, match=r"column 'image' holds string: \{bytes, path\} is wanted"):
        open_images(f"parquet:{path}")


def test_labels_must_fit_the_model(encode: Make, write_parquet: Make) -> None:
    path = write_parquet([encode()] * 4, [0, 9, 10, 12])
    assert (
        len(open_images(f"parquet:{path}", num_classes=13))
        == len(open_images(f"parquet:{path}[0:2]", num_classes=10)) + 2
    )
    with pytest.raises(DataError, match=r"row 2: label 10, but the model has 10 classes \(2 such images\)"):
        open_images(f"parquet:{path}", num_classes=10)
    path = write_parquet([encode()] * 2, [0, -1])
    with pytest.raises(DataError, match="row 1: label -1, but labels begin at 0"):
        open_images(f"parquet:{path}")
    path = write_parquet([encode()] * 2, [0, None])
    with pytest.raises(DataError, match="row 1: the label is missing"):
        open_images(f"parquet:{path}")


def test_a_set_without_images_is_a_data_error(write_parquet: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        open_images(f"parquet:{write_parquet([], [])}")
    (tmp_path / "folder" / "cats").mkdir(parents=True)
    (tmp_path / "folder" / "lone.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds no images: expected .*/<class>/<image>.jpg"):
        open_images(f"folder:{tmp_path}/folder")


@pytest.fixture
def folder(encode: Make, tmp_path: Path) -> Make:
    def make(*names: str) -> Path:
        root = tmp_path / "classes"
        shutil.rmtree(root, ignore_errors=True)
        for seed, name in enumerate(names):
            (root / name / "deeper").mkdir(parents=True)
            (root / name / "b.PNG").write_bytes(encode(seed))
            (root / name / "deeper" / "a.jpeg").write_bytes(encode(seed, file="JPEG"))
            (root / name / "notes.txt").write_text("not an image")
        return root

    return make


@pytest.mark.parametrize(
    ("names", "num_classes", "labels", "expected"),
    [
        (("cat", "ant", "bee"), 3, (), [0, 1, 2]),  # sorted: ant, bee, cat
        (("cat", "ant", "bee"), None, (), [0, 1, 2]),
        (("cat", "ant"), 3, ("cat", "dog", "ant"), [2, 0]),
        (("Great_White_Shark",), 1000, ("tench", "goldfish", "great white shark"), [2]),
        (("10", "9", "2"), 11, (), [10, 2, 9]),
        (("n01443537", "n01440764"), 1000, (), [0, 1]),
        (("n01443537", "n01440764"), 2, (), [0, 1]),
    ],
)
def test_folders_are_labels_numbers_wordnet_ids_or_sorted(
    folder: Make, names: tuple[str, ...], num_classes: int | None, labels: tuple[str, ...], expected: list[int]
) -> None:
    dataset = open_images(f"folder:{folder(*names)}", num_classes=num_classes, labels=labels)
    assert [label for _, label in dataset] == [label for label in expected for _ in range(2)]


def test_folders_that_mean_nothing_to_the_model_are_a_data_error(folder: Make) -> None:
    root = folder("cat", "dog")
    with pytest.raises(DataError, match=r"its 2 folders \(cat, dog, …\) are neither labels nor .* has 1000 classes"):
        open_images(f"folder:{root}", num_classes=1000, labels=("tench",))
    with pytest.raises(DataError, match="unknown class 'dog': did you mean 'dogs'"):
        open_images(f"folder:{root}", num_classes=1000, labels=("cat", "dogs"))
    with pytest.raises(DataError, match="label 5, but the model has 3 classes"):
        open_images(f"folder:{folder('5')}", num_classes=3)


def test_an_undecodable_file_is_named(folder: Make) -> None:
    root = folder("cat")
    (root / "cat" / "c.png").write_bytes(b"no")
    with pytest.raises(DataError, match=rf"^{root}/cat/c.png: not an image"):
        list(open_images(f"folder:{root}"))


def test_the_demo_is_twenty_labelled_photographs_and_foolbox_is_not_imported() -> None:
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("foolbox is not installed")
    dataset = open_images("demo", num_classes=1000)
    labels = [label for _, label in dataset]
    assert labels == [243, 559, 438, 990, 949, 853, 609, 609, 915, 455, 541, 630, 741, 471, 129, 99, 251, 22, 317, 305]
    assert "foolbox" not in sys.modules


def test_the_demo_without_foolbox_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.errors.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"the demo images needs an extra: .*\[demo\]"):
        open_images("demo")


def test_the_hub_without_datasets_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.errors.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"\[hub\]"):
        open_images("hf:org/name")


class FakeTable:
    """What of datasets.Dataset is used."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
        self.rows, self.features = rows, features

    def __getitem__(self, key: int | str) -> Any:
        return [row[key] for row in self.rows] if isinstance(key, str) else self.rows[key]

    def cast_column(self, name: str, feature: Any) -> FakeTable:
        assert (name, feature.decode) == ("img", False)
        return self


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, encode: Make, tmp_path: Path) -> types.ModuleType:
    """A stand-in for the datasets library with one set."""
    module: Any = types.ModuleType("datasets")
    module.__spec__ = importlib.util.spec_from_loader("datasets", loader=None)
    module.Image = type("Image", (), {"__init__": lambda self, decode=True: setattr(self, "decode", decode)})
    module.ClassLabel = type("ClassLabel", (), {})
    (tmp_path / "on_disk.png").write_bytes(encode(1))
    rows = [
        {"img": {"bytes": encode(0), "path": None}, "fine": 7},
        {"img": {"bytes": None, "path": str(tmp_path / "on_disk.png")}, "fine": 3},
        {"img": {"bytes": None, "path": str(tmp_path / "gone.png")}, "fine": None},
    ]
    module.features = {"img": module.Image(), "fine": module.ClassLabel()}
    module.splits = ["test"]

    def load(name: str, split: str, revision: str | None) -> FakeTable:
        if (name, split, revision) != ("org/set", "test", "abc"):
            raise RuntimeError(f"no {name} {split} {revision}.\nTraceback …")
        return FakeTable(rows, module.features)

    module.load_dataset = load
    module.get_dataset_split_names = lambda name, revision: module.splits
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_a_hub_set_is_read_by_the_types_of_its_columns(hub: Any) -> None:
    dataset = open_images("hf:org/set@abc[0:2]", num_classes=8)
    assert [label for _, label in dataset] == [label for _, label in open_images("hf:org/set@abc:test[0:2]")] == [7, 3]
    with pytest.raises(DataError, match="row 2: label -1"):
        open_images("hf:org/set@abc")


def test_hub_failures_are_data_errors(hub: Any) -> None:
    with pytest.raises(DataError, match="cannot be loaded: no other test None: check its name and split"):
        open_images("hf:other:test")
    hub.splits = ["train", "validation"]
    with pytest.raises(DataError, match="has the splits train, validation: write hf:NAME:train"):
        open_images("hf:org/set@abc")
    hub.features["other"] = hub.Image()
    with pytest.raises(DataError, match=r"its columns are: img \(Image\), fine \(ClassLabel\), other \(Image\)"):
        open_images("hf:org/set@abc:test")
