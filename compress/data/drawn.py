"""The dataset of a task whose samples are drawn from seeds: there is one name, and nothing to read."""

from __future__ import annotations

from compress.errors import DataError

DRAWN = "drawn"


def parse_drawn(dataset: str) -> None:
    """Raise DataError for any other name."""
    if dataset != DRAWN:
        raise DataError(f"dataset '{dataset}': samples of denoising are drawn: write {DRAWN}, or leave it out")


def drawn_problems(dataset: str) -> list[str]:
    """What is wrong with a dataset, in a list."""
    try:
        parse_drawn(dataset)
    except DataError as error:
        return [str(error)]
    return []
