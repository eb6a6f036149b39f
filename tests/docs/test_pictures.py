"""Pictures in the documentation show the figures that stand beside them."""

from __future__ import annotations

import html
import json
import re

from tests.bench.bits import PICTURE, points
from tests.docs.blocks import ROOT


def test_the_picture_of_bits_draws_the_rows_of_the_table() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    told = re.search(r"<dc:description>(.*?)</dc:description>", PICTURE.read_text(encoding="utf-8"), re.DOTALL)
    assert told is not None
    rows = points(page)
    assert json.loads(html.unescape(told[1])) == rows  # else: python tests/bench/bits.py
    assert len(rows) >= 7
    assert PICTURE.relative_to(ROOT).as_posix() in page
