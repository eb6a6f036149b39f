"""A published row, made again: the same bytes where versions and processor are the same, quality within its intervals,
speed and memory within stated tolerances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from compress.errors import CompressError
from compress.pipeline import run_at
from compress.place import RunOptions, place_of
from compress.progress import Reporter
from compress.published.checks import Checker, command_of
from compress.published.rows import Published, published_of
from compress.report.figures import megabytes, ratio
from compress.results import float_run_of, row_in
from compress.runtime.machine import Machine
from compress.runtime.verify import Check, Verdict, shown, verdict_of

SIZE_TOLERANCE = 0.01  # of bytes, where other versions may write a graph otherwise
LATENCY_TOLERANCE = 0.25  # of the median ratio to the float model's time; or the quartiles of both overlap
MEMORY_TOLERANCE = 0.25  # of the peak, which other libraries and kernels move


def made_again(output: Path, reporter: Reporter) -> Checker:
    """Runs a row's recipe in `output`, each once, and checks the row against what comes out."""
    done: dict[str, Path] = {}

    def run_of(row: Published) -> Path:
        """The finished run; of a float row the one that a row made again was compared with."""
        command = command_of(row)
        if command is None:
            raise CompressError(f"{row.name}: `{row.row.command}` is no command line: it cannot be run again")
        recipe = command.recipe(row)
        if recipe.name not in done:
            reporter.say(recipe.name)
            place = place_of(recipe, output, row.row.command)
            run_at(place, RunOptions(output, allow_code=command.allow_code), reporter)
            done[recipe.name] = place.directory
        if not row.row.is_float:
            return done[recipe.name]
        beside = float_run_of(done[recipe.name])
        if beside is None:
            raise CompressError(f"{row.name}: `{row.row.command}` measures no float model any more")
        return beside

    def check(row: Published) -> Iterator[Check]:
        yield from compared(row, published_of(row_in(run_of(row))))

    return check


def compared(row: Published, again: Published) -> Iterator[Check]:
    """The row beside the same one made again, figure by figure."""
    yield _bytes(row, again)
    yield _size(row, again)
    for name, figure in row.row.scores.items():
        if name in again.row.scores:
            yield Check(name, shown(figure), shown(again.row.scores[name]), verdict_of(figure, again.row.scores[name]))
        else:
            yield Check(name, shown(figure), "nothing", Verdict.FAILED)
    yield from _latency(row, again)
    yield _memory(row, again)


def _bytes(row: Published, again: Published) -> Check:
    what, recorded, found = "bytes of the model file", row.model_sha256[:12], again.model_sha256[:12]
    if row.model_sha256 == again.model_sha256:
        return Check(what, recorded, found, Verdict.EXACT)
    other = ", ".join(_different(row, again))
    if other:
        return Check(f"{what} (another {other} may change them)", recorded, found, Verdict.UNCHECKED)
    return Check(what, recorded, found, Verdict.FAILED)


def _different(row: Published, again: Published) -> Iterator[str]:
    """What may change bytes, and is another than when the row was made; the program's own code is not among it."""
    before, now = row.lock["versions"], again.lock["versions"]
    yield from (name for name in sorted({*before, *now}) if before.get(name) != now.get(name))
    if row.lock["threads"] != again.lock["threads"]:  # sums over threads depend on their number in the last bit
        yield "number of threads"
    if not _same_processor(row.row.machine, again.row.machine):
        yield "processor"


def _size(row: Published, again: Published) -> Check:
    recorded, found = row.row.model_bytes, again.row.model_bytes
    verdict = Verdict.EXACT if recorded == found else _within(found / recorded - 1, SIZE_TOLERANCE)
    return Check(f"size, ± {SIZE_TOLERANCE:.0%}", f"{megabytes(recorded)} MB", f"{megabytes(found)} MB", verdict)


def _latency(row: Published, again: Published) -> Iterator[Check]:
    before, now = row.row.latency_ratio, again.row.latency_ratio
    if before is None or now is None:
        return
    what = f"latency / float, ± {LATENCY_TOLERANCE:.0%} or quartiles that overlap"
    if not _same_processor(row.row.machine, again.row.machine):
        told = f"{ratio(now)} on another processor, {again.row.machine}"
        yield Check(what, ratio(before), told, Verdict.UNCHECKED)
        return
    overlap = before.quartile_low <= now.quartile_high and now.quartile_low <= before.quartile_high
    verdict = Verdict.WITHIN if overlap else _within(now.value / before.value - 1, LATENCY_TOLERANCE)
    yield Check(what, ratio(before), ratio(now), verdict)


def _memory(row: Published, again: Published) -> Check:
    recorded, found = row.row.peak_rss_bytes, again.row.peak_rss_bytes
    verdict = _within(found / recorded - 1, MEMORY_TOLERANCE)
    what = f"peak memory, ± {MEMORY_TOLERANCE:.0%}"
    return Check(what, f"{megabytes(recorded)} MB", f"{megabytes(found)} MB", verdict)


def _same_processor(one: Machine, other: Machine) -> bool:
    return (one.cpu, one.features, one.threads) == (other.cpu, other.features, other.threads)


def _within(apart: float, tolerance: float) -> Verdict:
    return Verdict.WITHIN if abs(apart) <= tolerance else Verdict.FAILED
