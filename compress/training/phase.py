"""Phase: what a pass adds to a training: a share in the loss, a schedule, and an end that leaves a plain model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.training.examples import NOTHING


class Phase(nn.Module):
    """A share in a training.  Its parameters, of which it may have some, are trained with the model's."""

    def loss(self, task_loss: Tensor, labels: Tensor | None) -> Tensor:
        """The loss to be lowered, of the forward that the model made last; `task_loss` is that of the task alone.

        labels  aligned with the logits, or None where nobody knows them.
        """
        return task_loss

    def step(self, done: float) -> None:
        """Called after each optimizer step, and when a training goes on; `done` is the share of it that lies behind, in
        (0, 1], or 0 where nobody knows it."""
        return

    def held(self) -> Sequence[nn.Parameter]:
        """Parameters of the model that are not to be trained, whatever the loop would."""
        return ()

    def finish(self) -> None:
        """Leave the model as it shall be: no hook, nothing that is learned still."""
        return


class Compressor(nn.Module):
    """The phases of a training around one model; see `compress.prepare`.

    Its own state (`state_dict`) is the number of steps, and what phases learn beside the model.
    """

    steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        phases: Sequence[Phase],
        total_steps: int | None = None,
        after: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self._after = after
        self._model = [model]  # in a list: it is no part of this module's state
        self.phases = nn.ModuleList(phases)
        self.total_steps = total_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_post_hook(Compressor._go_on)  # type: ignore[no-untyped-call]

    @property
    def model(self) -> nn.Module:
        return self._model[0]

    @property
    def changes_loss(self) -> bool:
        """Whether `loss` gives anything but the task's."""
        return any(isinstance(phase, Phase) and type(phase).loss is not Phase.loss for phase in self.phases)

    def begin(self, total_steps: int | None) -> None:
        """Say how long the training is, where that is known only when it begins, or goes on."""
        self.total_steps = total_steps
        Compressor._go_on(self, None)

    def loss(self, task_loss: Tensor, batch: Any = None) -> Tensor:
        """What to lower in place of `task_loss`, which came of the model's last forward.

        batch  what the forward was made of: its labels are taken from a `Batch`, from `batch["labels"]` or from the
               last of a tuple; without labels every place counts alike.
        """
        labels = labels_of(batch, self.model)
        for phase in self.phases:
            assert isinstance(phase, Phase)
            task_loss = phase.loss(task_loss, labels)
        return task_loss

    def step(self) -> None:
        """To be called after each optimizer step."""
        self.steps += 1
        self._tell()

    def _tell(self) -> None:
        """Schedules are functions of the steps that were done."""
        done = min(1.0, int(self.steps) / self.total_steps) if self.total_steps else 0.0
        for phase in self.phases:
            assert isinstance(phase, Phase)
            phase.step(done)

    @staticmethod
    def _go_on(compressor: Any, keys: Any) -> None:
        """A state was loaded: phases are where they were when it was saved."""
        if int(compressor.steps):
            compressor._tell()

    def finalize(self) -> nn.Module:
        """End the training: the model, in eval mode, as the passes promise it, with nothing left to be learned."""
        for phase in reversed(self.phases):
            assert isinstance(phase, Phase)
            phase.finish()
        model = self.model.eval()
        return model if self._after is None else self._after(model)


def labels_of(batch: Any, model: nn.Module | None = None) -> Tensor | None:
    """The labels in a batch, aligned with the logits of `model`; None if there are none to be seen."""
    if isinstance(batch, Mapping):
        labels = batch.get("labels")
        encoder_decoder = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
        shifts = getattr(model, "loss_type", "ForCausalLM") == "ForCausalLM" and not encoder_decoder
        if isinstance(labels, Tensor) and labels.dim() == 2 and shifts:
            # transformers' causal models shift labels inside: the logits at a place are of the token after it
            return nn.functional.pad(labels[:, 1:], (0, 1), value=NOTHING)
        return labels if isinstance(labels, Tensor) else None
    labels = getattr(batch, "labels", None)
    if isinstance(labels, Tensor):
        return labels
    if isinstance(batch, tuple | list) and len(batch) > 1 and isinstance(batch[-1], Tensor):
        return batch[-1]
    return None


def asked(logits: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Rows [N, C] of the logits where a label is asked for, and those labels [N]; all rows where no labels are known,
    or where these are none of one class a row."""
    rows = logits.flatten(0, -2)
    if labels is None or labels.shape != logits.shape[:-1] or labels.is_floating_point():
        return rows, None
    flat = labels.flatten()
    where = flat != NOTHING
    return (rows, flat) if bool(where.all()) else (rows[where], flat[where])
