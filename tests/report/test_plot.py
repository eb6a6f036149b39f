"""A picture of rows: quality over size."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from compress.errors import ArtefactError
from compress.report.plot import plot
from compress.tasks.base import Figure
from tests.rows import FLOAT, INT4, INT8, RANDOM, row

TRANSLATOR = row(
    "tiny-w4", task="translation", model="A translator", scores={"nll_per_token_lost": Figure(0.15, 0.13, 0.17, 400)}
)


def words(path: Path) -> set[str]:
    """What a picture says, by the comments that matplotlib leaves beside the letters that it draws."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    tree = ElementTree.parse(path, parser)
    return {(node.text or "").strip() for node in tree.iter() if node.tag is ElementTree.Comment}


def test_a_point_a_row_and_a_panel_a_task_the_same_bytes_for_the_same_rows(tmp_path: Path) -> None:
    rows = [INT8, FLOAT, INT4, RANDOM, TRANSLATOR]
    for name in ("one.svg", "two.svg", "one.png", "two.png"):
        plot(rows, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    said = words(tmp_path / "one.svg")
    assert {"float", "w4", "w8a8", "EfficientNet-Lite0", "tiny-w4", "A translator", "top-1, %"} <= said
    assert "likelihood lost, nats a token" in said
    assert "resnet18" not in said
    with Image.open(io.BytesIO((tmp_path / "one.png").read_bytes())) as image:
        assert image.size == (1280, 1472)


@pytest.mark.parametrize("upper", ["smaller", "larger"])
def test_of_two_neighbours_the_upper_ones_name_is_above(upper: str, tmp_path: Path) -> None:
    rows = [
        row(name, model_bytes=size, scores={"top1": Figure(0.8005 if name == upper else 0.80, 0.79, 0.83, 100)})
        for name, size in (("smaller", 5_000_000), ("larger", 5_010_000))
    ]
    plot(rows, tmp_path / "one.svg")
    heights = name_heights(tmp_path / "one.svg")
    [lower] = {"smaller", "larger"} - {upper}
    assert heights[upper] < heights[lower]  # of SVG, counted from the top


def name_heights(path: Path) -> dict[str, float]:
    """Where each text of a picture stands, by the comment before the group that moves it there."""
    text = path.read_text()
    return {name: float(y) for name, y in re.findall(r"<!-- (\w+) -->\s*<g[^>]*translate\(\S+ ([\d.]+)\)", text)}


def test_a_score_without_an_interval_is_a_point_alone(tmp_path: Path) -> None:
    plot([replace(INT8, scores={"top1": Figure(0.9, None, None, 10)})], tmp_path / "one.svg")
    assert "w8a8" in words(tmp_path / "one.svg")


@pytest.mark.parametrize(
    ("rows", "name", "message"),
    [
        ([INT8], "one.gif", "pictures end in .png, .svg, .pdf"),
        ([RANDOM], "one.png", "no row of true weights has a score that can be drawn"),
        ([replace(TRANSLATOR, scores={})], "one.png", "no row of true weights"),
    ],
)
def test_what_cannot_be_drawn(rows: list[object], name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=message):
        plot(rows, tmp_path / name)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
