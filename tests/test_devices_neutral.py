"""Device code is torch.accelerator's: no line that runs on one maker's hardware alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import compress

ROOT = Path(compress.__file__).parent
ONE_MAKER = re.compile(
    r"\.(cuda|npu|xpu|mps)\(|torch\.(cuda|npu|xpu|mps|backends\.mps)\b|[\"'](cuda|npu|xpu|mps)(:\d+)?[\"']"
)


def lines_of_one_maker(text: str) -> list[str]:
    code = [line.partition("#")[0] for line in text.splitlines()]
    return [line.strip() for line in code if ONE_MAKER.search(line)]


def test_no_line_of_the_program_names_one_maker_s_devices() -> None:
    found = {str(path.relative_to(ROOT)): lines_of_one_maker(path.read_text()) for path in ROOT.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("line", ["model.cuda()", 'x.to("cuda:0")', "torch.cuda.is_available()", "y = x.npu()"])
def test_such_a_line_is_found(line: str) -> None:
    assert lines_of_one_maker(line) == [line]


def test_training_asks_whether_there_is_any_accelerator() -> None:
    assert "cpu=not torch.accelerator.is_available()" in (ROOT / "training" / "loop.py").read_text()
