"""A callback by which transformers' Trainer trains under passes.

callback = CompressCallback([TrainQuantized(num_bits=4, logits=LogitsLoss())], teacher=teacher, batches=batches)
trainer = Trainer(model, arguments, train_dataset=dataset, callbacks=[callback])
trainer.train()
model = callback.finalize()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError, require
from compress.integrations.preparing import Preparing

require("transformers", "compress.integrations.transformers", "train")

import torch  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from compress.training.examples import NOTHING  # noqa: E402
from compress.training.phase import labels_of  # noqa: E402
from compress.training.quantizing import trains_activations  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor, nn


class CompressCallback(Preparing, TrainerCallback):  # type: ignore[misc]  # transformers' types are Any
    """Prepares the Trainer's model before its optimizer is made; call `finalize` when the training has ended.

    The arguments are those of `compress.prepare`; the Trainer knows how many steps there are.

    The loss that the model computes from the labels becomes that of the passes while it is trained, and stays what it
    is in evaluations.  A loss of your own is wrapped where it is given:
    `Trainer(…, compute_loss_func=callback.wraps(my_loss))`.  The Trainer's label smoothing cannot be.

    Checkpoints hold all of it: `train(resume_from_checkpoint=…)` of a Trainer made alike goes on where they were.  The
    Trainer's weight_decay is for the scales of grids too: leave it at 0 where they are learned.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.hook: Any = None
        self.told: list[tuple[Any, str, Any]] = []
        self.heard = False  # the passes' loss, since the last step

    def on_init_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        model = known["model"]
        if args.n_gpu > 1:
            raise CompressError("several GPUs in one process are not supported: start a process each, by torchrun")
        if args.label_smoothing_factor and any(getattr(each, "teaches", False) for each in self.passes):
            raise CompressError("label_smoothing_factor hides the labels from the model: leave it at 0")
        self.prepare(model, model)
        if args.gradient_checkpointing and trains_activations(model):
            raise CompressError(
                "gradient_checkpointing repeats forwards without the grids of activations: leave it out"
            )
        self.told = _tell_how_to_save(model)
        outside = torch.compiler.disable(self._wrap_loss)  # type: ignore[no-untyped-call]
        self.hook = model.register_forward_hook(outside, with_kwargs=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        if self.compressor is None or self.owner is not known["model"]:
            raise CompressError("this model is not prepared: give the callback and the model to Trainer(…) itself")
        self.check_optimized(each for group in known["optimizer"].param_groups for each in group["params"])
        self.compressor.begin(state.max_steps)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        assert self.compressor is not None
        if self.compressor.changes_loss and not self.heard:
            raise CompressError(
                "the model gives no loss that passes could change: wrap your own: compute_loss_func=callback.wraps(…)"
            )
        self.heard = False

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        assert self.compressor is not None
        self.compressor.step()

    def finalize(self) -> nn.Module:
        if self.hook is not None:
            self.hook.remove()
        for module, attribute, before in self.told:
            setattr(module, attribute, before)
        self.hook, self.told = None, []
        return super().finalize()

    def wraps(self, task_loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """For the Trainer's `compute_loss_func`: `task_loss`, in whose place the passes' loss is trained."""

        def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
            value = task_loss(outputs, labels, num_items_in_batch=num_items_in_batch)
            assert self.owner is not None
            return self._loss(value, labels, num_items_in_batch) if self.owner.training else value

        return loss

    def _wrap_loss(self, model: nn.Module, inputs: Any, keywords: Mapping[str, Any], output: Any) -> Any:
        """The model's own hook: what it gives, with the passes' loss."""
        loss = output.get("loss") if isinstance(output, Mapping) else None
        if not model.training or loss is None:
            return None
        output["loss"] = self._loss(loss, keywords.get("labels"), keywords.get("num_items_in_batch"))
        return output

    def _loss(self, value: Tensor, labels: Tensor | None, num_items: Any) -> Tensor:
        """The passes' loss.  Where the Trainer sums losses over parts of a batch (`num_items`: the labels in all of
        them), a mean over this part counts by its share in the labels."""
        assert self.compressor is not None
        self.heard = True
        batch = {"labels": labels}
        aligned = labels_of(batch, self.compressor.model)
        if num_items is None or aligned is None:
            return self.compressor.loss(value, batch)
        share: Tensor = (aligned != NOTHING).sum().clamp_min(1) / num_items
        return self.compressor.loss(value / share, batch) * share


def _tell_how_to_save(model: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    """Tell transformers how checkpoints hold the model while it is trained; the attributes that say so, with what they
    were before.

    Under the names that its parameters have now: the Trainer (5.23) saves some architectures under the names of older
    files, but does not translate them back when it resumes, and goes on with a warning.  And what layers share is in a
    file of safetensors but once.
    """
    first: dict[int, str] = {}
    shared: dict[nn.Module, dict[str, str]] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        holder, _, rest = name.partition(".parametrizations.")
        if first.setdefault(id(value), name) != name and rest:
            shared.setdefault(model.get_submodule(holder), {})[f"parametrizations.{rest}"] = first[id(value)]
    told: dict[tuple[nn.Module, str], Any] = {(layer, "_tied_weights_keys"): keys for layer, keys in shared.items()}
    told[model, "_weight_conversions"] = []
    before = [(module, attribute, getattr(module, attribute, None)) for module, attribute in told]
    for (module, attribute), value in told.items():
        setattr(module, attribute, value)
    return before
