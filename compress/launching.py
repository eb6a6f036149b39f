"""A training pass in processes of its own: `accelerate launch`, or torchrun, starts them, each builds the model as the
run has it, they train together, and the first one leaves the trained model on disk.

The run itself stays one process.  `python -m compress.launching DIRECTORY` is what is launched.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compress.applying import apply_one, deterministic
from compress.errors import CompressError, ModelError, require
from compress.jobs import kind_of
from compress.passes.base import Context, Pass
from compress.progress import LineReporter, Reporter
from compress.recipe import Recipe, dump, parse
from compress.teachers import context_of
from compress.training.settings import Track

if TYPE_CHECKING:
    from torch import nn

_ORDER, _BEFORE, _AFTER = "order.json", "before", "after"


@dataclass(frozen=True)
class Trainings:
    """How a run's trainings work; what they give does not depend on it but in the last bits.

    track     the program that losses are sent to, below the run's directory; None: none.
    launcher  starts them in processes of their own; None: they run in the run's process.

    Raises MissingExtra if that program is not installed: Accelerate would keep no losses and not say so.
    """

    track: Literal["tensorboard", "mlflow", "trackio"] | None = None
    launcher: Launcher | None = None

    def __post_init__(self) -> None:
        if self.track is not None:
            require(self.track, f"--track {self.track}", self.track)


_PROGRAMS = {"accelerate": "accelerate.commands.launch", "torchrun": "torch.distributed.run"}


@dataclass(frozen=True)
class Launcher:
    """How training passes are started.

    program    'accelerate' (`accelerate launch`), or 'torchrun', which also starts several processes on CPUs.
    arguments  of the program, such as ('--config_file', 'fsdp.yaml') or ('--nproc_per_node', '2').
    """

    program: Literal["accelerate", "torchrun"] = "accelerate"
    arguments: tuple[str, ...] = ()

    def launching(self, recipe: Recipe, allow_code: bool) -> Callable[[Pass, nn.Module, Context], nn.Module]:
        """What applies a training pass of `recipe` in other processes."""

        def launch(step: Pass, model: nn.Module, context: Context) -> nn.Module:
            from compress.models.snapshot import load_snapshot, save_snapshot

            require("accelerate", "launching a training", "train")
            assert context.directory is not None  # a run gives every pass one
            place = context.directory / "launched"
            shutil.rmtree(place, ignore_errors=True)  # what processes left whose result was not taken over
            (place / _BEFORE).mkdir(parents=True)
            save_snapshot(model, place / _BEFORE)
            order = {
                "recipe": dump(recipe),
                "pass": recipe.passes.index(step),
                "allow_code": allow_code,
                "directory": str(context.directory),
                "track": None
                if context.track is None
                else [context.track.program, str(context.track.directory.resolve())],
            }
            (place / _ORDER).write_text(json.dumps(order), encoding="utf-8")
            command = [
                sys.executable,
                "-m",
                _PROGRAMS[self.program],
                *self.arguments,
                "-m",
                "compress.launching",
                str(place),
            ]
            context.notes.append(" ".join(command))
            code = subprocess.run(command, check=False).returncode
            if code or not (place / _AFTER).is_dir():
                raise ModelError(f"{step.name}: the launched processes ended with code {code}: they say why above")
            model = step.restructure(model, context)
            load_snapshot(model, place / _AFTER)
            return model.eval()

        return launch


IN_PROCESS = Trainings()


def work(place: Path) -> None:
    """One of the launched processes: train, and, in the first of them, leave the model in `place`."""
    from accelerate import PartialState

    from compress.models.snapshot import load_snapshot, save_snapshot

    order = json.loads((place / _ORDER).read_text(encoding="utf-8"))
    recipe = parse(order["recipe"])
    state = PartialState(cpu=not has_gpu())
    job = kind_of(recipe).load(recipe, order["allow_code"])
    reporter = LineReporter(sys.stderr) if state.is_main_process else Reporter()
    context = context_of(recipe, job, order["allow_code"], reporter)
    track = None if order["track"] is None else Track(order["track"][0], Path(order["track"][1]))
    context = replace(context, directory=Path(order["directory"]), track=track)
    model = job.model
    for step in recipe.passes[: order["pass"]]:
        model = step.restructure(model, context)
    load_snapshot(model, place / _BEFORE)
    with deterministic():
        model = apply_one(recipe.passes[order["pass"]], model, context)
    if state.is_main_process:
        partial = place / f"{_AFTER}.partial"
        partial.mkdir()
        save_snapshot(model, partial)
        partial.rename(place / _AFTER)
    state.wait_for_everyone()
    state.destroy_process_group()


def has_gpu() -> bool:
    """Whether trainings run on a GPU or another accelerator.  Raises MissingExtra without torch."""
    require("torch", "launching a training", "torch")
    import torch

    return torch.accelerator.is_available()


def _main(arguments: list[str]) -> Any:
    try:
        work(Path(arguments[0]))
    except CompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
