"""What a run says while it works: a bar a stage with the time left on a terminal, plain lines elsewhere, or nothing.

Everything said here goes to stderr, so that stdout holds the result alone, and into the run's log.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from compress.durations import duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_LINE_SECONDS = 10.0  # how often a long loop is heard of where there is no terminal


class Reporter:
    """Says nothing; the base of those that do.  An instance is a `compress.passes.base.Progress`.

    log   the file that takes what is said, with the time, or None: set by `logging_to`.
    """

    def __init__(self) -> None:
        self.log: Path | None = None

    def __call__(self, items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        """Yield the items, and show how many of `total` are done; 0: nobody knows how many there are."""
        return iter(items)

    @contextmanager
    def stage(self, name: str, number: int, count: int) -> Iterator[None]:
        """Scope: the run is in stage `number` of `count`."""
        title = f"[{number}/{count}] {name}"
        self.note(title)
        started = time.monotonic()
        with self._showing(title):
            yield
        taken = f"{title}: {duration(time.monotonic() - started)}"
        self.note(taken)
        self._print(taken)

    def say(self, text: str) -> None:
        """A line for the user, and for the log."""
        self.note(text)
        self._print(text)

    def note(self, text: str) -> None:
        """A line, or several, for the log alone."""
        if self.log is not None:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            with self.log.open("a", encoding="utf-8") as stream:
                stream.writelines(f"{stamp} {line}\n" for line in text.splitlines())

    @contextmanager
    def logging_to(self, path: Path) -> Iterator[None]:
        """Scope: `path` takes what is said, and the warnings of libraries in place of the terminal."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _Notes(self)
        root = logging.getLogger()
        self.log = path
        root.addHandler(handler)
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.removeHandler(handler)
            self.log = None

    @contextmanager
    def _showing(self, title: str) -> Iterator[None]:
        yield

    def _print(self, text: str) -> None:
        return None


class LineReporter(Reporter):
    """Plain lines, for files and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self.stream = stream or sys.stderr

    def __call__(self, items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        started = heard = time.monotonic()
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - heard > _LINE_SECONDS and done:
                left = f" of {total}, {duration((now - started) / done * max(total - done, 0))} left" if total else ""
                self._print(f"      {what}: {done}{left}")
                heard = now
            yield item

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class BarReporter(Reporter):
    """One bar a stage, that of its loop while one runs; below it one for each loop within the loop."""

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__()
        self.console = Console(stderr=True, highlight=False)
        self.bars: Bars | None = None
        self.title = ""
        self.tasks: list[TaskID] = []  # the stage's, then those of the loops that run, the innermost last

    def __call__(self, items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        bars = self.bars
        if bars is None:
            yield from items
            return
        outermost = len(self.tasks) == 1
        if outermost:  # in place of the stage's own bar, which cannot be given another total
            bars.remove_task(self.tasks[0])
        self.tasks.append(bars.add_task(f"{self.title}: {what}" if outermost else f"      {what}", total=total or None))
        try:
            for item in items:
                yield item
                bars.advance(self.tasks[-1])
        finally:
            bars.remove_task(self.tasks.pop())
            if outermost:
                self.tasks[0] = bars.add_task(self.title, total=None)

    @contextmanager
    def _showing(self, title: str) -> Iterator[None]:
        from rich import progress as bar

        columns = (bar.TextColumn("{task.description}"), bar.BarColumn(), bar.MofNCompleteColumn())
        times = (bar.TimeElapsedColumn(), bar.TimeRemainingColumn(elapsed_when_finished=False))
        with bar.Progress(*columns, *times, console=self.console, transient=True) as self.bars:
            self.title, self.tasks = title, [self.bars.add_task(title, total=None)]
            try:
                yield
            finally:
                self.bars = None

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


class _Notes(logging.Handler):
    """What libraries log, from warnings up, goes into the run's log."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self.reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self.reporter.note(f"{record.levelname.lower()}: {record.name}: {record.getMessage()}")


def reporter_for(quiet: bool) -> Reporter:
    """Bars on a terminal, lines elsewhere, nothing when `quiet`."""
    if quiet:
        return Reporter()
    return BarReporter() if sys.stderr.isatty() else LineReporter()
