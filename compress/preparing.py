"""prepare: this project's passes inside a training loop of the user's own.

compressor = compress.prepare(model, passes, teacher=teacher)
for batch in loader:
    loss = compressor.loss(task_loss(model, batch), batch)
    loss.backward(); optimizer.step(); compressor.step()
model = compressor.finalize()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from compress.applying import apply_one, keep_promises
from compress.errors import CompressError, require
from compress.models.loaded import randomness
from compress.passes.base import Context, Pass
from compress.passes.training import TrainingPass
from compress.targets import Target, load

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.training.phase import Compressor
    from compress.training.settings import Teacher


def prepare(
    model: nn.Module,
    passes: Sequence[Pass],
    *,
    teacher: Callable[..., Any] | None = None,
    batches: Callable[[], Iterable[tuple[Tensor, ...]]] | None = None,
    target: Target | str = "generic",
    seed: int = 0,
    total_steps: int | None = None,
) -> Compressor:
    """Begin a training of `model` under `passes`; the loop around it is the caller's.

    Passes that prune act at once, and their masks stay through the training.  Passes that train (distill, finetune,
    train.quantized, …) add their losses and grids; what they say of the loop itself (epochs, learning_rate, …)
    is the caller's and has no effect.  What comes after the last of all these is applied by `finalize`.

    model        any module; it can be saved, loaded and copied between here and `finalize`, though its `state_dict` may
                 have entries more.  Wrap it (DDP, torch.compile) after this call, and go on with what `finalize` gives.
    teacher      for passes that learn from one: a module, put into eval mode, or a function of the model's arguments.
    batches      calibration inputs for passes that read some: each call starts anew and yields the model's positional
                 arguments as tuples.
    total_steps  of the loop, for schedules (`freeze`, `fade`, `residual`); without it these do nothing.

    Make the optimizer after this call, of `[*model.parameters(), *compressor.parameters()]`.  A checkpoint holds the
    state of the model, the compressor and the optimizer; it is loaded after the same call.

    In several processes, average the gradients of `compressor.parameters()` (projections of features) too: DDP sees the
    model's alone.  Gradient checkpointing repeats forwards of parts alone, where activations have no grids, and torch
    refuses that: train without it where activations are quantized.

    Raises ModelError for a model that a pass cannot take, and CompressError for a pass that wants what was not given.
    """
    require("torch", "training a model", "torch")
    device = load(target) if isinstance(target, str) else target
    problems = [f"{step.name}: {problem}" for step in passes for problem in step.problems(device)]
    wants_steps = [
        step.name
        for step in passes
        if any(getattr(step, schedule, None) for schedule in ("freeze", "fade", "residual"))
    ]
    if wants_steps and total_steps is None:
        problems.append(f"{wants_steps[0]}: its schedule is a share of the training: give total_steps")
    if problems:
        raise CompressError("\n".join(problems))

    def no_batches() -> Iterable[tuple[Tensor, ...]]:
        raise CompressError("a pass reads calibration inputs: give batches=lambda: ...")

    def taught_by(wanted: Teacher) -> Callable[..., Any]:
        if teacher is None:
            raise CompressError("a pass learns from a teacher: give teacher=...")
        return teacher

    context = Context(batches or no_batches, device, seed, teacher=taught_by)
    return _Preparing(model, passes, context, total_steps).compressor()


class _Preparing:
    """What `prepare` does, and what is left to do at the end."""

    def __init__(self, model: nn.Module, passes: Sequence[Pass], context: Context, total_steps: int | None) -> None:
        self.model, self.passes, self.context, self.total_steps = model, tuple(passes), context, total_steps
        lasting = [number for number, step in enumerate(passes, 1) if step.lasts_through_training]
        self.num_before = max(lasting, default=0)

    def compressor(self) -> Compressor:
        from compress.training.phase import Compressor

        phases = []
        training = self.model.training
        self.model.eval()  # while it is looked at
        with randomness(self.context.seed):
            for step in self.passes[: self.num_before]:
                if isinstance(step, TrainingPass):
                    step.requires(self.model, self.context)
                    phases += step.phases(self.model, self.context)
                elif apply_one(step, self.model, self.context) is not self.model:
                    raise CompressError(f"{step.name} gives another model: apply it first, by compress.apply")
        self.model.train(training)
        return Compressor(self.model, phases, self.total_steps, self.finalize)

    def finalize(self, model: nn.Module) -> nn.Module:
        with randomness(self.context.seed):
            for step in self.passes[: self.num_before]:
                if isinstance(step, TrainingPass):
                    model = step.finished(model, self.context)
            for step in self.passes[self.num_before :]:
                model = apply_one(step, model, self.context)
            keep_promises(self.passes, model, self.context)
        return model
