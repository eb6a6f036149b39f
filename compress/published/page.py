"""RESULTS.md: the rows of `results/` as tables, and how each of them was made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from compress.errors import ArtefactError
from compress.files import write_text
from compress.published.rows import Published, folder_of, read_folder, write_rows
from compress.report.layouts import LAYOUTS
from compress.report.table import RANDOM_TITLE, escaped, markdown_table, sort, tables

_MARK = "<!-- Generated from the files of {folder}/: compress table {page} --results {page} -->"
_INTRODUCTION = """\
# Results

Every figure was measured on the exported file itself, by the command that stands with it, and lies in full in
[`{folder}/`]({folder}). Sizes are of the model file, in MB of 10⁶ bytes; shares, likelihoods and distances have 95 %
intervals; ratios of times are medians with their quartiles, of runs in turn with the float model's in one process.

```sh
compress verify {page}                    # do the recipes still say this, and the artefacts that lie in runs/?
compress verify {page} --rerun ROW        # make a row again, and compare bytes, quality, speed and memory
compress table {page} --html page.html    # the same rows as a page to sort, filter and hover over
compress table runs --results {page}      # add the rows of your own runs, or replace those of the same name
```
"""
_TITLES = {"image_classification": "Images classified", "translation": "Text translated"}
_TITLES |= {"image_generation": "Images generated", "denoising": "Latents denoised"}
_TITLES |= {"text_to_image": "Images of texts"}
_SHOWN = 12  # hexadecimal digits of a hash


def page_of(rows: Sequence[Published], page: Path) -> str:
    """The whole page, in Markdown: equal rows, equal text.  page: the file's path, for its name and its links."""
    folder = folder_of(page).name
    parts = [_MARK.format(folder=folder, page=page.name), _INTRODUCTION.format(folder=folder, page=page.name)]
    for task in LAYOUTS:
        parts += _task(task, [row for row in rows if row.row.task == task], folder)
    return "\n".join([*parts, *_made(rows)])


def publish(page: Path, rows: Iterable[Published], *, force: bool = False) -> list[str]:
    """Write the rows beside the page, those of the same names replaced, and the page anew.  Returns a line for each row
    that is new or another.

    Raises ArtefactError for a page that no such call wrote, unless `force`.
    """
    first = _MARK.format(folder=folder_of(page).name, page=page.name)
    if page.exists() and not force and page.read_text(encoding="utf-8").split("\n")[0] != first:
        raise ArtefactError(f"{page} is there already, and not of published rows: name another file, or give --force")
    before = {row.name: row for row in read_folder(page)}
    changed = {row.name: row for row in rows if before.get(row.name) != row}
    write_rows(page, changed.values())
    everything = sorted({**before, **changed}.values(), key=lambda row: row.name)
    write_text(page, page_of(everything, page))
    return [f"{name}: {'replaced' if name in before else 'added'}" for name in changed]


def _task(task: str, published: Sequence[Published], folder: str) -> list[str]:
    """The tables of a task, each on its own data, random weights apart."""
    if not published:
        return []
    parts = [f"## {_TITLES[task]}\n"]
    by_name = {row.name: row for row in published}
    together: dict[str, list[Published]] = {}
    for row in published:
        together.setdefault(_data(row), []).append(row)
    counts = {data: max(row.num_samples or 0 for row in group) for data, group in together.items()}
    for data, group in sorted(together.items(), key=lambda item: (-counts[item[0]], item[0])):
        rows = [row.row for row in group]
        count = f"{counts[data]:,} samples of " if counts[data] else ""
        for table in tables(sort(rows)):
            cells = [
                (f"[{row.name}]({folder}/{row.name}.json)", *line[1:])
                for row, line in zip(table.rows, table.cells, strict=True)
            ]
            header = [column.header for column in table.columns]
            title = f"### {RANDOM_TITLE}\n\n" if table.title else ""
            grid = markdown_table(header, cells, [column.is_text for column in table.columns])
            notes = "".join(
                f"- {row.name}: {escaped(note)}\n" for row in table.rows for note in _notes(by_name[row.name])
            )
            parts.append(f"{title}On {count}{data}:\n\n{grid}" + (f"\n{notes}" if notes else ""))
    return parts


def _notes(row: Published) -> Iterator[str]:
    """What a reader of the row's figures has to know."""
    yield from (f"misses its budget: {miss}" for miss in row.row.misses)
    if row.lock.get("calibration_sha256") == row.lock["evaluation_sha256"]:
        yield "calibrated on the samples that it is scored on"


def _data(row: Published) -> str:
    """What a row's scores were taken on, in words."""
    return f"`{row.dataset}` ({_short(row.lock['evaluation_sha256'])})"


def _made(rows: Sequence[Published]) -> list[str]:
    """The command, the hashes and the date of each row, by the machine and the versions that it was made with."""
    parts = ["## How they were made\n"]
    together: dict[tuple[str, str], list[Published]] = {}
    for row in rows:
        together.setdefault((str(row.row.machine), _versions(row)), []).append(row)
    header = ("row", "command", "model file", "float weights", "date")
    for (machine, versions), made in together.items():
        cells = [
            (
                row.name,
                f"`{row.row.command}`",
                _short(row.model_sha256),
                _short(row.lock["weights_sha256"]),
                row.measured,
            )
            for row in made
        ]
        grid = markdown_table(header, cells, (True,) * len(header))
        parts.append(f"On {machine}; {versions}. Hashes are the beginnings of sha256.\n\n{grid}")
    return parts


def _versions(row: Published) -> str:
    return ", ".join(f"{library} {version}" for library, version in row.lock["versions"].items())


def _short(sha256: object) -> str:
    return f"`{str(sha256)[:_SHOWN]}`"
