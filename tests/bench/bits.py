"""Draws bits against quality, as the README's table of Gemma 3 270M tells them: .github/gemma-bits.svg.

python tests/bench/bits.py

The rows themselves are measured by the commands beside the table.  Needs matplotlib.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / ".github" / "gemma-bits.svg"
ROW = re.compile(
    r"^\| `gemma-3-270m-(?P<name>[^`]+)`[^|]* \| (?P<size>[\d.]+) \| [^|]+ "
    r"\| \+(?P<lost>[\d.]+) \[\+(?P<low>[\d.]+), \+(?P<high>[\d.]+)\] \|",
    re.MULTILINE,
)


def points(page: str) -> list[list[str]]:
    """Name, megabytes, nats a token lost, and its interval, of each row of the page's table."""
    return [list(found.groups()) for found in ROW.finditer(page)]


def main() -> None:
    found = points((ROOT / "README.md").read_text(encoding="utf-8"))
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    place = figure.subplots()
    for name, *numbers in found:
        size, lost, low, high = map(float, numbers)
        place.errorbar(size, lost, yerr=[[lost - low], [high - lost]], fmt="o", color="tab:blue", capsize=2)
        place.annotate(name, (size, lost), xytext=(7, 4), textcoords="offset points", fontsize=9)
    place.set_yscale("log")
    place.set_xlabel("weights and graph, MB (float: 1073)")
    place.set_ylabel("likelihood lost, nats a token")
    place.set_title("Gemma 3 270M, 400 references of NTREX, 95 % intervals", fontsize=10)
    place.margins(x=0.08, y=0.1)
    place.grid(which="both", alpha=0.25)
    with rc_context({"svg.hashsalt": "compress"}):
        figure.savefig(PICTURE, metadata={"Date": None, "Description": json.dumps(found)})


if __name__ == "__main__":
    main()
