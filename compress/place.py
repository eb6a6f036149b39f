"""The directory of a run: what decides its result, and whether that result is there already."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError, ModelError
from compress.fingerprint import code_version, file_sha256, fingerprint, versions
from compress.jobs import kind_of
from compress.recipe import Recipe, dump
from compress.report.row import Row, read_row
from compress.results import RECORD, ROW
from compress.runtime.artefact import open_artefact
from compress.stages import StageStore

RUNS = Path("runs")
SHARED = ".shared"  # beside the runs: what passes found out of a model that other recipes begin with too
# How messages name the parts of `decided_by`.
_TOLD = {"recipe": "recipe values", "code": "code", "versions": "library versions", "files": "model files"}
_TOLD |= {"data": "data"}


@dataclass(frozen=True)
class Place:
    """The directory of a run, and what decides its result."""

    directory: Path
    decided_by: dict[str, Any]
    recipe: Recipe
    command: str

    @property
    def artefact(self) -> Path:
        return self.directory / "artefact"

    @property
    def log(self) -> Path:
        return self.directory / "log.txt"

    @property
    def stages(self) -> StageStore:
        return StageStore(self.directory / "stages", self.directory.parent / SHARED / "stages")

    def finished(self, *, force: bool = False) -> Row | None:
        """The row of a result that is there and the same; None if there is none, or `force` replaces it.

        Raises ArtefactError for one that something else decided, or that is damaged.
        """
        record = self.directory / RECORD
        if force or not (record.is_file() or self.artefact.exists()):
            return None
        if not record.is_file():
            if self.stages.directory.is_dir():  # killed between the artefact and its record: the stages make both again
                return None
            raise ArtefactError(f"{self.artefact}: exists, and no run of compress made it: name another --output")
        try:
            before = json.loads(record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtefactError(f"{record}: damaged: {error}: --force makes the result again") from error
        different = [part for part in self.decided_by if before.get(part) != as_json(self.decided_by[part])]
        if different:
            told = " and ".join(_TOLD[part] for part in different)
            hint = "--force replaces it, another --output keeps it"
            raise ArtefactError(f"{self.directory}: holds a result that other {told} made: {hint}")
        open_artefact(self.artefact)  # its hashes
        # Written from another working directory, the row's own path may lead nowhere from here.
        return replace(read_row(self.directory / ROW), artefact=str(self.artefact))


@dataclass(frozen=True)
class RunOptions:
    """How recipes are run, from the command line; see `compress.pipeline.run`."""

    output: Path = RUNS
    force: bool = False
    allow_code: bool = False
    keep_stages: bool = False

    def typed(self) -> list[str]:
        """Those that a row's command must repeat."""
        output = [] if self.output == RUNS else ["--output", str(self.output)]
        return [*output, *(["--allow-code"] if self.allow_code else [])]


def place_of(recipe: Recipe, output: Path = RUNS, command: str = "") -> Place:
    """Where a run of the recipe works.  Raises DataError or ModelError for data or model files that cannot be read."""
    return Place(output / recipe.name, decided_by(recipe), recipe, command)


def decided_by(recipe: Recipe) -> dict[str, Any]:
    """All that decides the result, as far as it is known without loading the model, as plain data.

    Raises DataError for data, and ModelError for model files, that cannot be read.
    """
    return {
        "recipe": dump(recipe),
        "code": code_version(),
        "versions": versions(),
        "files": {key: path_sha256(file) for key, file in files_of(recipe).items()},
        "data": kind_of(recipe).fingerprints(recipe),
    }


def files_of(recipe: Recipe) -> dict[str, str]:
    """The local files of the recipe's model, and of the teachers of its passes, by a name of each."""
    found = recipe.model.files()
    for number, step in enumerate(recipe.passes, 1):
        found |= {f"{step.name}.{number}.{key}": file for key, file in step.files().items()}
    return found


def path_sha256(file: str) -> str:
    """Of a file, or of all files of a directory with their names."""
    path = Path(file).expanduser()
    try:
        if path.is_dir():
            return fingerprint({each.name: file_sha256(each) for each in path.iterdir() if each.is_file()})
        return file_sha256(path)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from error


def model_slug(recipe: Recipe) -> str:
    """The model's name as a directory may be called: 'efficientnet-lite0'."""
    name = recipe.model.name
    if recipe.model.kind in ("path", "gguf", "factory"):
        name = Path(name.partition(".py:")[0]).stem
    return re.sub(r"[^A-Za-z0-9.]+", "-", name.rpartition("/")[2]).strip("-.")[:60] or "model"


def as_json(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))
