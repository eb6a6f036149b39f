"""A row as it is published: all that was measured, what decided it, and the hash of each of its files.

`RESULTS.md` is made of the files of `results/`, one a row: what is not in them is not on the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError
from compress.files import write_text
from compress.fingerprint import fingerprint
from compress.report.page import Entry
from compress.report.row import Row, row_from_plain
from compress.results import RECORD, float_run_of
from compress.runtime.artefact import Artefact, read_manifest

FORMAT = 1
_HASH = 8  # hexadecimal digits that tell float models of one name apart


@dataclass(frozen=True, kw_only=True)
class Published:
    """A measured row, with all that its artefact's manifest and its run's record say of it.

    row           its artefact's path is that of a run in `runs`; a float model's name tells its data, not the code.
    lock          the resolved recipe, the seed, versions, threads, and the hashes of weights and data.
    quantization  what was decided about weights and activations.
    files         by name: sha256 and bytes of every file of the artefact but its manifest.
    model_sha256  of the model file; of several as `Artefact.model_sha256`.
    float_sha256  of the float model file that its scores compare it with, or None.
    compared      name of that float model's row; None where there is none.
    code          sha256 of the program's source files that can change a result.
    measured      the date, YYYY-MM-DD, or '' where the run's log is gone.
    """

    row: Row
    lock: Mapping[str, Any]
    quantization: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    model_sha256: str
    float_sha256: str | None
    compared: str | None
    code: str
    measured: str

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def dataset(self) -> str:
        """What its scores were taken on, as its recipe writes it."""
        return str(self.lock["recipe"]["task"][self.row.task]["dataset"])

    @property
    def num_samples(self) -> int | None:
        """The most that a score of it counts."""
        return max((figure.num_samples or 0 for figure in self.row.scores.values()), default=0) or None

    def entry(self) -> Entry:
        """As the page of `compress table --html` shows it."""
        return Entry(self.row, self.lock, self.quantization)

    def to_json(self) -> str:
        plain = {**asdict(self), "row": self.row.to_plain(), "format": FORMAT}
        return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def published_of(row: Row) -> Published:
    """A finished run's row, as `compress.results` reads it, with its manifest and its record.

    Raises ArtefactError if the artefact, or what decided it, lies no longer beside the row.
    """
    directory = Path(row.artefact)
    run = directory.parent
    artefact = Artefact(directory, read_manifest(directory))
    lock = dict(artefact.manifest["lock"])
    beside = None if row.is_float else float_run_of(run)
    name = _float_name(lock, row.name) if row.is_float else row.name
    other = None if beside is None else read_manifest(beside / "artefact")["lock"]
    return Published(
        row=replace(row, name=name, artefact=f"runs/{run.name}/artefact"),
        lock={**lock, "recipe": {**lock["recipe"], "name": name}},
        quantization=artefact.manifest["quantization"],
        files=artefact.manifest["files"],
        model_sha256=artefact.model_sha256,
        float_sha256=artefact.float_sha256,
        compared=None if beside is None or other is None else _float_name(other, beside.name),
        code=_code_of(run),
        measured=_date_of(run),
    )


def _float_name(lock: Mapping[str, Any], name: str) -> str:
    """One name for a float model on the same data, whatever the code and the versions that exported it.

    name  of its run, which ends with a hash of all of them.
    """
    data = {key: sha256 for key, sha256 in lock.items() if key.endswith("_sha256")}
    recipe = {key: part for key, part in lock["recipe"].items() if key != "name"}
    return f"{name.rpartition('-')[0]}-{fingerprint(recipe, data)[:_HASH]}"


def _code_of(run: Path) -> str:
    try:
        return str(json.loads((run / RECORD).read_text(encoding="utf-8"))["code"])
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"{run / RECORD}: damaged: {error}: run its recipe again with --force") from error


def _date_of(run: Path) -> str:
    """Of the last line of the run's log, or of that of a run that made this float model."""
    log = run / "log.txt"
    if not log.is_file():
        logs = [path for path in run.parent.glob("*/log.txt") if run.name in _float_of(path.parent)]
        if not logs:
            return ""
        log = max(logs, key=lambda path: path.stat().st_mtime)
    stamps = re.findall(r"^(\d{4}-\d\d-\d\d) \d\d:\d\d:\d\d ", log.read_text(encoding="utf-8"), re.MULTILINE)
    return stamps[-1] if stamps else ""


def _float_of(run: Path) -> str:
    record = run / RECORD
    return str(json.loads(record.read_text(encoding="utf-8")).get("float")) if record.is_file() else ""


def read_published(path: Path) -> Published:
    """The row that a file of `results/` holds.  Raises ArtefactError, naming the file, for one that is damaged."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: cannot be read: {error}: publish the row again") from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ArtefactError(f"{path}: not a published row of format {FORMAT}: move it away, or publish it again")
    try:
        values = {key: value for key, value in plain.items() if key != "format"}
        return Published(**{**values, "row": row_from_plain(values["row"], str(path))})
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"{path}: not a published row: {error}: publish it again") from error


def is_page(path: Path) -> bool:
    """Whether a path is meant as a page of published rows rather than as a directory."""
    return path.suffix == ".md"


def folder_of(page: Path) -> Path:
    """Where the rows of a page lie: `results/` beside RESULTS.md."""
    return page.with_name(page.stem.lower())


def rows_of(page: Path) -> list[Published]:
    """The published rows of a page, by name.  Raises ArtefactError if there are none, or one is damaged."""
    if not page.is_file():
        raise ArtefactError(f"{page}: no such file: compress table runs --results {page} writes it")
    found = read_folder(page)
    if not found:
        raise ArtefactError(f"{folder_of(page)}: no rows here: compress table runs --results {page} writes them")
    return found


def read_folder(page: Path) -> list[Published]:
    """The rows that lie beside a page, by name; none where there are none.  Raises ArtefactError for damaged ones."""
    found = [
        (path, read_published(path)) for path in sorted(folder_of(page).glob("*.json"), key=lambda path: path.stem)
    ]
    for path, each in found:
        if each.name != path.stem:
            raise ArtefactError(f"{path}: holds the row of {each.name}: name the file {each.name}.json")
    return [each for _, each in found]


def write_rows(page: Path, rows: Iterable[Published]) -> None:
    """A file for each row; those of the same names are replaced."""
    for row in rows:
        write_text(folder_of(page) / f"{row.name}.json", row.to_json())
