"""Do an artefact's figures still hold?  Its hashes again, its scores again, each beside what the manifest records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from compress.errors import ArtefactError
from compress.passes.base import Progress, silent
from compress.runtime.artefact import MANIFEST, Artefact, as_artefact, open_artefact
from compress.runtime.scoring import score
from compress.tasks.base import Figure, Scores, Task

# Takes an artefact's scores anew, beside the float one's where that is given.
Rescore = Callable[[Artefact, Artefact | None], Scores]


class Verdict(Enum):
    EXACT = "holds exactly"
    WITHIN = "holds within its interval"
    FAILED = "does not hold"
    STALE = "stale"  # of something that is another by now
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Check:
    """One figure: as recorded, as found, and whether it holds.  recorded and found are texts to show."""

    what: str
    recorded: str
    found: str
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.what}: {self.verdict.value}: recorded {self.recorded}, found {self.found}"


@dataclass(frozen=True)
class Verification:
    """checks: one line each.  ok: no figure fails or is stale, and one at least was checked."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        verdicts = {check.verdict for check in self.checks}
        return not verdicts & {Verdict.FAILED, Verdict.STALE} and verdicts != {Verdict.UNCHECKED}

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))

    def to_json(self) -> str:
        """Whether it holds, and each check with its verdict by name ('EXACT', 'WITHIN', …)."""
        checks = [{**asdict(check), "verdict": check.verdict.name} for check in self.checks]
        return json.dumps({"ok": self.ok, "checks": checks}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def verify(
    directory: str | Path,
    task: Task | None = None,
    *,
    float_artefact: Artefact | str | Path | None = None,
    threads: int = 2,
    progress: Progress = silent,
) -> Verification:
    """Check every hash; with a task run the scores again, and with the float artefact those that compare.

    A score holds exactly if it is the recorded number, within its interval if it lies in the recorded 95 % interval,
    and else it does not hold.  A damaged artefact is not run.

    Raises ArtefactError for a float artefact that is damaged or not the one that the manifest records.
    """
    if task is None:
        return _verified(directory, None, None, float_artefact)
    evaluated = task

    def rescore(artefact: Artefact, reference: Artefact | None) -> Scores:
        return score(artefact, evaluated, float_artefact=reference, threads=threads, progress=progress)

    return _verified(directory, rescore, task.fingerprints()["evaluation"], float_artefact)


def verify_scores(
    directory: str | Path,
    rescore: Rescore,
    data_sha256: str,
    *,
    float_artefact: Artefact | str | Path | None = None,
) -> Verification:
    """As `verify`, for any task: `rescore` takes the scores anew, of evaluation data with this hash."""
    return _verified(directory, rescore, data_sha256, float_artefact)


def _verified(
    directory: str | Path,
    rescore: Rescore | None,
    data_sha256: str | None,
    float_artefact: Artefact | str | Path | None,
) -> Verification:
    try:
        artefact = open_artefact(directory)
    except ArtefactError as error:
        return Verification(
            tuple(Check("files", f"those of {MANIFEST}", line, Verdict.FAILED) for line in str(error).split("\n"))
        )
    number = f"{len(artefact.manifest['files'])} files"
    checks = [Check("files", number, f"{number} of the same sha256", Verdict.EXACT)]
    if rescore is None or data_sha256 is None:
        return Verification((*checks, *_unchecked(artefact, "no task was given")))
    reference = None if float_artefact is None else _reference(artefact, float_artefact)
    found = rescore(artefact, reference)
    return Verification((*checks, _data(artefact, data_sha256), *_scores(artefact, found)))


def _reference(artefact: Artefact, given: Artefact | str | Path) -> Artefact:
    reference = as_artefact(given)
    if artefact.float_sha256 not in (None, reference.model_sha256):
        expected, found = str(artefact.float_sha256)[:12], reference.model_sha256[:12]
        raise ArtefactError(
            f"{reference.model_path}: not the float model that {artefact.directory} was compared with: "
            f"expected sha256 {expected}, found {found}"
        )
    return reference


def _data(artefact: Artefact, found: str) -> Check:
    recorded = artefact.manifest["lock"].get("evaluation_sha256")
    if recorded == found:
        return Check("evaluation data", recorded[:12], found[:12], Verdict.EXACT)
    shown = "nothing" if recorded is None else str(recorded)[:12]
    return Check("evaluation data (other figures are expected)", shown, found[:12], Verdict.UNCHECKED)


def _scores(artefact: Artefact, found: dict[str, Figure]) -> Iterator[Check]:
    if not artefact.scores:
        yield Check("scores", "nothing", ", ".join(sorted(found)), Verdict.UNCHECKED)
    for name, recorded in artefact.scores.items():
        if name not in found:
            yield Check(name, shown(recorded), "nothing: it needs the float artefact", Verdict.UNCHECKED)
        else:
            yield Check(name, shown(recorded), shown(found[name]), verdict_of(recorded, found[name]))


def _unchecked(artefact: Artefact, why: str) -> list[Check]:
    return [Check(name, shown(figure), why, Verdict.UNCHECKED) for name, figure in artefact.scores.items()]


def verdict_of(recorded: Figure, found: Figure) -> Verdict:
    """Exact if the numbers are equal, within if what is found lies in the recorded interval, else failed."""
    if recorded.value == found.value:
        return Verdict.EXACT
    if recorded.low is not None and recorded.high is not None and recorded.low <= found.value <= recorded.high:
        return Verdict.WITHIN
    return Verdict.FAILED


def shown(figure: Figure) -> str:
    """A figure with its interval, as checks tell it."""
    interval = "" if figure.low is None or figure.high is None else f" [{figure.low:.4f}, {figure.high:.4f}]"
    return f"{figure.value:.4f}{interval}"
