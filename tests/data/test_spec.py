"""What a recipe's `dataset:` may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data.spec import DatasetSpec, dataset_problems, parse_spec
from compress.errors import DataError


@pytest.mark.parametrize(
    ("text", "kind", "location", "start", "stop"),
    [
        ("demo", "demo", "", 0, None),
        ("demo[0:8]", "demo", "", 0, 8),
        ("parquet:a.parquet[128:]", "parquet", "a.parquet", 128, None),
        ("parquet:a.parquet[:5]", "parquet", "a.parquet", 0, 5),
        ("folder:/x/[old]/images[ 3 : 7 ]", "folder", "/x/[old]/images", 3, 7),
        ("hf:org/name@main:validation[0:9]", "hf", "org/name@main:validation", 0, 9),
    ],
)
def test_a_dataset_is_a_kind_a_place_and_a_slice(
    text: str, kind: str, location: str, start: int, stop: int | None
) -> None:
    assert parse_spec(text) == DatasetSpec(text, kind, location, start, stop)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images/", "dataset 'images/' does not say what kind it is: write folder:images/ or parquet:images/"),
        ("dmeo", "does not say what kind it is: write demo, parquet:images.parquet, folder:images/ or"),
        ("parqet:a", "dataset 'parqet:a': unknown kind of dataset 'parqet': did you mean 'parquet'?"),
        ("demo:x", "dataset 'demo:x': demo takes no path: write demo"),
        ("folder:", "dataset 'folder:' has nothing after its colon: write demo,"),
        ("demo[5:5]", "dataset 'demo[5:5]': the slice [5:5] is empty: write [first:end], such as [0:128]"),
        ("demo[9:5]", "the slice [9:5] is empty"),
        ("demo[3]", "dataset 'demo[3]': [3] is not a slice: write [first:end], such as [0:128]"),
        ("demo[-3:]", "[-3:] is not a slice"),
        ("demo[0:8:2]", "[0:8:2] is not a slice"),
        ("demo[a:b]", "[a:b] is not a slice"),
        ("demo[0:" + "9" * 5000 + "]", "is not a slice"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        parse_spec(text)
    assert message in str(error.value)
    assert dataset_problems(text) == [str(error.value)]


@given(st.text(max_size=30))
def test_any_text_is_a_dataset_or_a_data_error(text: str) -> None:
    try:
        spec = parse_spec(text)
    except DataError:
        return
    assert spec.text == text
    assert spec.stop is None or spec.start < spec.stop


def test_problems_name_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    there = tmp_path / "file"
    assert dataset_problems(f"parquet:{tmp_path}/no.parquet") == [
        f"dataset 'parquet:{tmp_path}/no.parquet': there is no file {tmp_path}/no.parquet"
    ]
    assert "write parquet:" in dataset_problems(f"parquet:{tmp_path}")[0]
    assert "there is no folder" in dataset_problems(f"folder:{tmp_path}/no")[0]
    assert "is a file: folder: takes a folder" in dataset_problems(f"folder:{there}")[0]
    assert (
        dataset_problems(f"parquet:{there}") == dataset_problems(f"folder:{tmp_path}") == dataset_problems("demo") == []
    )


def test_a_slice_may_not_reach_beyond_the_set() -> None:
    assert parse_spec("demo[5:20]").rows(20) == range(5, 20)
    assert parse_spec("demo[5:]").rows(20) == range(5, 20)
    with pytest.raises(DataError, match=r"dataset 'demo\[0:128\]': there are only 20 images: write \[0:20\]"):
        parse_spec("demo[0:128]").rows(20)
    with pytest.raises(DataError, match="only 20 images"):
        parse_spec("demo[20:]").rows(20)
