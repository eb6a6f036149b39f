"""Passes, one after another, on a torch model: each checked before, promised after, and promised again at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.errors import PromiseBroken
from compress.passes.base import Context, Pass, Progress, silent
from compress.stages import Stage, StageStore
from compress.targets import Target, load

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from compress.models.translators import LoadedTranslator
    from compress.progress import Reporter
    from compress.tasks.translation import Example
    from compress.training.examples import Examples
    from compress.training.settings import Teacher


def apply(
    model: nn.Module,
    passes: Sequence[Pass],
    batches: Callable[[], Iterable[tuple[Tensor, ...]]],
    *,
    target: Target | str = "generic",
    seed: int = 0,
    progress: Progress = silent,
    translator: LoadedTranslator | None = None,
    examples: Callable[[str | Sequence[Example] | None, tuple[str, ...]], Examples] | None = None,
    teacher: Callable[[Teacher], Callable[..., Any]] | None = None,
) -> nn.Module:
    """Apply `passes` to `model` (in eval mode) and return it; `model` itself may change too.

    batches     calibration inputs: each call starts anew and yields the model's positional arguments as tuples.
    seed        of all randomness: same model, data and seed on the same machine, same result.
    translator  whose model it is, for passes that read text.
    examples    for passes that train: labelled examples, by the dataset's name (None: the same that calibrates) and the
                kinds of augmentation.
    teacher     for passes that learn from one: gives the model that a `Teacher` names.

    Raises ModelError for a model that a pass cannot take, and PromiseBroken if what a pass promised does not hold,
    right after it or after the last.
    """
    device = load(target) if isinstance(target, str) else target
    context = Context(batches, device, seed, progress, translator=translator, examples=examples, teacher=teacher)
    return apply_all(model, passes, context)


def apply_all(model: nn.Module, passes: Sequence[Pass], context: Context) -> nn.Module:
    """As `apply`, with all that passes may use."""
    with deterministic():
        for step in passes:
            model = apply_one(step, model, context)
        keep_promises(passes, model, context)
    return model


def apply_resumably(
    model: nn.Module,
    passes: Sequence[Pass],
    context: Context,
    stages: Sequence[Stage],
    store: StageStore,
    reporter: Reporter,
    first: int,
    count: int,
) -> nn.Module:
    """As `apply`, keeping the model after each pass in `store`, and going on after the last that is there.

    stages        one a pass, whose fingerprints cover all that came before; what a pass shares with other recipes lies
                  below `context.shared` in a directory named after the stage before it.
    first, count  the number of the first pass's stage among those of the whole run, for the display.
    """
    from compress.models.snapshot import load_snapshot, save_snapshot

    kept = [store.finished(stage) for stage in stages]
    num_done = max((number for number, path in enumerate(kept, 1) if path is not None), default=0)
    if num_done:
        for step in passes[:num_done]:
            model = step.restructure(model, context)
        snapshot = kept[num_done - 1]
        assert snapshot is not None  # it is what num_done counts to
        load_snapshot(model, snapshot)
        reporter.say(f"going on after {passes[num_done - 1].name}, the last stage that was finished")
    for number in range(num_done, len(passes)):
        step, stage = passes[number], stages[number]
        with reporter.stage(step.name, first + number, count):
            place = replace(context, directory=store.scratch(stage), shared=_shared(context, stages[:number]))
            model = apply_one(step, model, place)
            with store.writing(stage) as directory:
                save_snapshot(model, directory)
        for note in context.notes:
            reporter.note(f"{step.name}: {note}")
        context.notes.clear()
    keep_promises(passes, model, context)
    return model


def _shared(context: Context, done: Sequence[Stage]) -> Path | None:
    """The directory that recipes share whose passes were these until now."""
    if context.shared is None or not done:
        return context.shared
    return context.shared / done[-1].directory_name


def apply_one(step: Pass, model: nn.Module, context: Context) -> nn.Module:
    """One pass: what it needs, what it does, what it promises.  Its randomness comes from the context's seed alone."""
    import torch

    from compress.models.memory import keep_freed_memory

    keep_freed_memory()
    torch.manual_seed(context.seed)
    step.requires(model, context)
    model = step.apply(model, context)
    step.ensures(model, context)
    return model


def keep_promises(passes: Sequence[Pass], model: nn.Module, context: Context) -> None:
    """Raise PromiseBroken, with all that is wrong, unless every pass's promise still holds."""
    broken = []
    for step in passes:
        try:
            step.ensures(model, context)
        except PromiseBroken as error:
            broken.append(f"after the last pass: {error}")
    if broken:
        raise PromiseBroken("\n".join(broken))


@contextmanager
def deterministic() -> Iterator[None]:
    """Scope: torch takes algorithms that give the same bits each time, or says that it has none.  Its random state
    outside is left as it was."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
