"""Row: the measurement of one artefact, with its name and the command that makes it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError
from compress.files import write_text
from compress.runtime.artefact import Artefact
from compress.runtime.machine import Machine
from compress.runtime.measurement import Evaluations, Measurement, Prefill
from compress.runtime.statistics import Ratio
from compress.tasks.base import Figure

FORMAT = 3


@dataclass(frozen=True, kw_only=True)
class Row(Measurement):
    """A line of the table.

    name            the recipe's.
    task            by name.
    model           the model in words; rows of one model stand together.
    artefact        path of the directory, as the user would write it.
    command         that makes the row again.
    target          device by name.
    is_float        whether this is the float model that the others are compared with.
    random_weights  whether the weights are random, so that only size, speed and parity mean something.
    misses          what of its budget it misses, a line each; empty if it keeps to it.
    """

    name: str
    task: str
    model: str
    artefact: str
    command: str
    target: str
    is_float: bool
    random_weights: bool
    misses: tuple[str, ...] = ()

    @property
    def size_ratio(self) -> float | None:
        """Its model file as a share of the float one's: 1 for the float row, None where there is none to compare."""
        if self.is_float:
            return 1.0
        return None if self.float_model_bytes is None else self.model_bytes / self.float_model_bytes

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"format": FORMAT, **asdict(self), "misses": list(self.misses)}

    def to_json(self) -> str:
        """The row as JSON, with sorted keys."""
        return json.dumps(self.to_plain(), indent=2, sort_keys=True, allow_nan=False) + "\n"


def row_of(
    measurement: Measurement,
    artefact: Artefact,
    *,
    name: str,
    task: str,
    command: str,
    is_float: bool = False,
    misses: tuple[str, ...] = (),
) -> Row:
    """The row of a measured artefact; model, target and whether the weights are random are the artefact's own."""
    return Row(
        **vars(measurement),
        name=name,
        task=task,
        model=artefact.description,
        artefact=str(artefact.directory),
        command=command,
        target=artefact.target,
        is_float=is_float,
        random_weights=artefact.random_weights,
        misses=misses,
    )


def row_from_plain(plain: Mapping[str, Any], where: str = "row") -> Row:
    """The row that `to_plain` gave.  Raises ArtefactError for keys that are missing or unknown, or another format."""
    if plain.get("format") != FORMAT:
        raise ArtefactError(f"{where}: a row of format {plain.get('format')}, not {FORMAT}: measure again")
    values = {key: value for key, value in plain.items() if key != "format"}
    known = {field.name for field in fields(Row)}
    if set(values) != known:
        wrong = ", ".join(sorted(set(values) ^ known))
        raise ArtefactError(f"{where}: not a row: missing or unknown: {wrong}: measure again")
    ratio, machine, prefill = values["latency_ratio"], values["machine"], values["prefill"]
    made = values["evaluations"]
    try:
        return Row(
            **{
                **values,
                "latency_ratio": _ratio(ratio),
                "prefill": None if prefill is None else Prefill(**{**prefill, "ratio": _ratio(prefill["ratio"])}),
                "evaluations": None
                if made is None
                else Evaluations(**{**made, "ratio": _ratio(made["ratio"]), "together": _ratio(made["together"])}),
                "scores": {name: Figure(**figure) for name, figure in values["scores"].items()},
                "machine": Machine(**{**machine, "features": tuple(machine["features"])}),
                "misses": tuple(values["misses"]),
            }
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ArtefactError(f"{where}: not a row: {error}: measure again") from error


def _ratio(plain: Mapping[str, Any] | None) -> Ratio | None:
    return None if plain is None else Ratio(**plain)


def write_row(row: Row, path: str | Path) -> None:
    """Write the row as JSON, all at once."""
    write_text(Path(path), row.to_json())


def read_row(path: str | Path) -> Row:
    """The row that `write_row` wrote.  Raises ArtefactError, naming the file, for one that is missing or damaged."""
    path = Path(path)
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}: measure first") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: damaged: not JSON: {error}: measure again") from error
    if not isinstance(plain, dict):
        raise ArtefactError(f"{path}: not a row: {type(plain).__name__}: measure again")
    return row_from_plain(plain, str(path))
