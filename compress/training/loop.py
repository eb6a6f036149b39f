"""train: this project's own loop, on Hugging Face Accelerate: one process or several, checkpoints that resume.

Nothing random has a state that would have to be kept: rows, augmentation and dropout of a step are functions of the
seed and the step's number.  A training that was killed therefore goes on to the same weights.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from compress.errors import ModelError
from compress.models.activations import active_activations
from compress.models.calls import logits_of
from compress.models.quantized import decoded_once
from compress.training.examples import NOTHING, Batch, Examples, rows_of_step
from compress.training.optimizing import choose_trainable, make_optimizer, rate_at
from compress.training.pace import Pace, items_of
from compress.training.phase import Compressor, Phase
from compress.training.settings import Loop, Track

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINT_SECONDS = 120.0
TaskLoss = Callable[[Any, Tensor], Tensor]  # (the model's output, labels) → a number


@dataclass(frozen=True)
class Surroundings:
    """What a training may use beside the model.

    seed       of the rows, the augmentation and dropout.
    progress   draws a bar over the steps.
    say        takes a line for the user now and then.
    directory  of checkpoints, or None: then none are kept.
    track      where losses are sent; None: nowhere.
    """

    seed: int
    progress: Callable[..., Any]
    say: Callable[[str], None] = lambda line: None
    directory: Path | None = None
    track: Track | None = None


@dataclass(frozen=True)
class History:
    """The mean loss of every step, over all processes."""

    losses: tuple[float, ...]


class Student(nn.Module):
    """A model with the phases of its training: one forward from a batch to the loss, which DDP and FSDP can wrap."""

    def __init__(self, model: nn.Module, compressor: Compressor, task_loss: TaskLoss) -> None:
        super().__init__()
        self.model, self.compressor, self.task_loss = model, compressor, task_loss

    def forward(self, inputs: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        task = self.task_loss(self.model(*map(channels_last, inputs)), labels)
        loss: Tensor = self.compressor.loss(task, Batch(inputs, labels))
        return loss


def cross_entropy(label_smoothing: float) -> TaskLoss:
    """The mean over what the labels ask for, of logits [N, …, classes] or of an output that holds some."""

    def loss(output: Any, labels: Tensor) -> Tensor:
        rows = logits_of(output).flatten(0, -2).float()
        return functional.cross_entropy(rows, labels.flatten(), ignore_index=NOTHING, label_smoothing=label_smoothing)

    return loss


def channels_last(x: Tensor) -> Tensor:
    """Images with the channels innermost, as convolutions train fastest on CPUs and GPUs alike; others as they are."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def train(
    model: nn.Module,
    phases: Sequence[Phase],
    examples: Examples,
    settings: Loop,
    around: Surroundings,
    task_loss: TaskLoss | None = None,
) -> History:
    """Train `model` in place, with its phases, and return what the losses were.

    task_loss  of the model's output and the labels; None: cross-entropy of logits.

    The model is left in training mode, its phases unfinished.  Raises ModelError for a loss that is not finite, or a
    model of which nothing can be trained, or that cannot be trained as the settings say.
    """
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin

    plugin = GradientAccumulationPlugin(settings.gradient_accumulation, sync_with_dataloader=False)
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        gradient_accumulation_plugin=plugin,
        log_with=None if around.track is None else around.track.program,
        project_dir=None if around.track is None else str(around.track.directory),
        cpu=not torch.accelerator.is_available(),
    )
    total = settings.num_steps(len(examples), accelerator.num_processes)
    compressor = Compressor(model, phases, total)
    model.to(memory_format=torch.channels_last)
    student: Any = Student(model, compressor, task_loss or cross_entropy(settings.label_smoothing))
    choose_trainable(model, settings, phases)
    optimizer: Any = make_optimizer(student, settings)
    student, optimizer = accelerator.prepare(student, optimizer)
    set_training(model, settings.frozen_norms)
    keeper = _Keeper(accelerator, around.directory, asdict(settings) | {"seed": around.seed, "total": total})
    losses = keeper.load()
    if around.track is not None:
        accelerator.init_trackers("compress", config=_flat(settings))
    kept = time.monotonic()
    pace = Pace(around.say, len(losses), total)
    rows_a_process = settings.batch_size
    with decoded_once(model), checkpointing(model, settings):
        for step in around.progress(range(len(losses), total), "training", total - len(losses)):
            share = rate_at(settings, step, total)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
            rows = rows_of_step(len(examples), rows_a_process * accelerator.num_processes, around.seed, step)
            mine = rows[accelerator.process_index * rows_a_process :][:rows_a_process]
            draw = np.random.default_rng((around.seed, step, accelerator.process_index))
            torch.manual_seed((around.seed * 1_000_003 + step) * 1_009 + accelerator.process_index)
            loss, count, unit = _step(accelerator, student, optimizer, examples, mine, draw, settings)
            if not math.isfinite(loss):
                raise ModelError(
                    f"the loss is {loss} at step {step + 1} of {total}: lower learning_rate, or give clip_norm"
                )
            compressor.step()
            losses.append(loss)
            rate = settings.learning_rate * share
            if around.track is not None:
                accelerator.log({"loss": loss, "learning_rate": rate}, step=step)
            pace.done(step, loss, rate, count, unit)
            if keeper.agreed(time.monotonic() - kept > CHECKPOINT_SECONDS) and step + 1 < total:
                keeper.save(losses)
                kept = time.monotonic()
    for tracker in accelerator.trackers:
        tracker.finish()  # end_training would also end the process group, which a launched pass still needs
    _gather(accelerator, student, model)
    return History(tuple(losses))


def _step(
    accelerator: Accelerator,
    student: nn.Module,
    optimizer: Any,
    examples: Examples,
    rows: Sequence[int],
    draw: np.random.Generator,
    settings: Loop,
) -> tuple[float, int, str]:
    """One optimizer step on these rows, in as many parts as the settings ask for; returns the mean loss of all
    processes, and how many items they learned from, about, and what these are called."""
    size = len(rows) // settings.gradient_accumulation
    seen = torch.zeros((), device=accelerator.device)
    total, unit = 0, ""
    for start in range(0, len(rows), size):
        batch = examples.batch(rows[start : start + size], draw if settings.draws else None)
        inputs = tuple(tensor.to(accelerator.device) for tensor in batch.inputs)
        with accelerator.accumulate(student):
            loss = student(inputs, batch.labels.to(accelerator.device))
            accelerator.backward(loss)
            if accelerator.sync_gradients and settings.clip_norm is not None:
                accelerator.clip_grad_norm_(student.parameters(), settings.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
        seen += loss.detach() * size / len(rows)
        count, unit = items_of(batch)
        total += count * accelerator.num_processes
    return float(accelerator.reduce(seen, reduction="mean")), total, unit


@contextmanager
def checkpointing(model: nn.Module, settings: Loop) -> Iterator[None]:
    """Scope: the model's layers forget what they computed and compute it again in the backward, if the settings say so.

    Raises ModelError for a model that cannot.
    """
    if not settings.gradient_checkpointing:
        yield
        return
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ModelError(
            f"gradient_checkpointing: {type(model).__name__} has no layers that compute again what they forgot, as "
            "transformers' models have: take it out"
        )
    if active_activations(model):
        raise ModelError(
            "gradient_checkpointing: what is computed again has no grids of activations: take it out, or train before "
            "activations are quantized"
        )
    layers: Any = model
    if hasattr(model, "activation_checkpointing_enable"):  # its name in later versions
        layers.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        end = layers.activation_checkpointing_disable
    else:
        layers.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        end = layers.gradient_checkpointing_disable
    layers.disable_input_require_grads()  # hooks of embeddings, for the other kind of checkpoints alone
    try:
        yield
    finally:
        end()


def set_training(model: nn.Module, frozen_norms: bool) -> None:
    """Training mode, but for batch normalisations that shall keep their statistics."""
    model.train()
    if frozen_norms:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def _gather(accelerator: Accelerator, student: nn.Module, model: nn.Module) -> None:
    """The trained values in `model`, on the CPU, in every process."""
    from accelerate.utils import DistributedType

    if accelerator.distributed_type == DistributedType.FSDP:
        state = accelerator.get_state_dict(student)
        if accelerator.is_main_process:
            own = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
            model.load_state_dict(own)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    model.to("cpu").to(memory_format=torch.contiguous_format)


def _flat(settings: Loop) -> dict[str, Any]:
    """The settings as trackers take them."""
    return {
        key: value if isinstance(value, int | float | str | bool) else str(value)
        for key, value in asdict(settings).items()
    }


class _Keeper:
    """Checkpoints of a training: the newest one whole, or none."""

    def __init__(self, accelerator: Accelerator, directory: Path | None, decided: dict[str, Any]) -> None:
        self.accelerator, self.decided = accelerator, json.loads(json.dumps(decided))
        self.directory = None if directory is None else directory / "checkpoints"

    def agreed(self, wanted: bool) -> bool:
        """Whether the first process wants it: all do the same."""
        if self.directory is None or self.accelerator.num_processes == 1:
            return wanted and self.directory is not None
        flag = torch.tensor(float(wanted and self.accelerator.is_main_process), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)

    def load(self) -> list[float]:
        """Go on from the newest checkpoint of a training of the same settings; the losses until then."""
        if self.directory is None or not self.directory.is_dir():
            return []
        for path in sorted(self.directory.glob("step-*"), reverse=True):
            record = json.loads((path / "record.json").read_text(encoding="utf-8"))
            if record["decided"] == self.decided:
                self.accelerator.load_state(str(path))
                return [float(loss) for loss in record["losses"]]
        return []

    def save(self, losses: Sequence[float]) -> None:
        """Keep the state after `len(losses)` steps, in place of what was kept before."""
        assert self.directory is not None
        final = self.directory / f"step-{len(losses):09d}"
        partial = final.with_name(f"{final.name}.partial")
        before = list(self.directory.glob("*")) if self.directory.is_dir() else []
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            record = json.dumps({"decided": self.decided, "losses": list(losses)})
            (partial / "record.json").write_text(record, encoding="utf-8")
            os.replace(partial, final)
            for old in before:
                if old != partial:
                    shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()
