"""The stages of a run on disk: each finished one is a directory named after its fingerprint, and appears all at once.

A stage that was killed leaves only a `.partial` directory, which the next run throws away, and perhaps its own
scratch directory, from which it may go on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compress.errors import ArtefactError

_SHOWN = 16  # hexadecimal digits of a fingerprint in a directory's name


@dataclass(frozen=True)
class Stage:
    """A step of a run, and the hash of everything that decides its result."""

    name: str
    fingerprint: str

    @property
    def directory_name(self) -> str:
        return f"{self.name}-{self.fingerprint[:_SHOWN]}"


@dataclass(frozen=True)
class StageStore:
    """Finished stages below `directory`, and those below `kept` that other runs have left there."""

    directory: Path
    kept: Path | None = None

    def finished(self, stage: Stage) -> Path | None:
        """Where the stage's result lies, or None if it is still to be done."""
        places = (self.directory, self.kept)
        paths = (place / stage.directory_name for place in places if place is not None)
        return next((path for path in paths if path.is_dir()), None)

    @contextmanager
    def writing(self, stage: Stage) -> Iterator[Path]:
        """Scope: an empty directory that becomes the stage's result when the block ends without an error."""
        final = self.directory / stage.directory_name
        partial = final.with_name(final.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            os.replace(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(self._scratch(stage), ignore_errors=True)

    def scratch(self, stage: Stage) -> Path:
        """A directory in which a long stage may keep what lets it resume; removed when the stage is finished."""
        path = self._scratch(stage)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, stages: Iterable[Stage]) -> None:
        """Move those that are finished here to where other runs find them."""
        assert self.kept is not None  # what has no such place is not asked
        self.kept.mkdir(parents=True, exist_ok=True)
        for stage in stages:
            ours, kept = (place / stage.directory_name for place in (self.directory, self.kept))
            if ours.is_dir() and not kept.is_dir():
                os.replace(ours, kept)

    def clear(self) -> None:
        """Remove everything that is not kept."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _scratch(self, stage: Stage) -> Path:
        return self.directory / f"{stage.directory_name}.scratch"


def replace_directory(source: Path, destination: Path, change: Callable[[Path], None]) -> None:
    """Make `destination` a copy of `source` to which `change` was applied.

    Killed at any point, `destination` is the old one, the new one or absent, never a mixture; the same call again
    mends it.
    """
    new, old = (destination.with_name(f".{destination.name}.{part}") for part in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, new)
    change(new)
    if destination.exists():
        os.replace(destination, old)
    os.replace(new, destination)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(directory: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Scope: no other process works in `directory`.  The system frees the lock of a process that is killed.

    Raises ArtefactError if another process holds it; or, with `waiting`, calls that and waits until it does not.
    """
    import filelock

    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / ".lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            if waiting is None:
                told = "another process is working here: wait until it has finished, or give another --output"
                raise ArtefactError(f"{directory}: {told}") from None
            waiting()
            lock.acquire()
    except OSError as error:
        raise ArtefactError(f"{directory}: cannot write here: {error.strerror}: give another --output") from error
    try:
        yield
    finally:
        lock.release()
