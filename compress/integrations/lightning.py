"""A callback by which Lightning's Trainer trains under passes.

class Taught(Compressed, Classifier): ...    # a line, where passes change the loss (a teacher's)

callback = CompressCallback([TrainQuantized(num_bits=4, logits=LogitsLoss())], teacher=teacher, batches=batches)
Trainer(callbacks=[callback]).fit(Taught(), loader)
model = callback.finalize()
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from compress.errors import CompressError, require
from compress.integrations.preparing import PART, Preparing

require("lightning", "compress.integrations.lightning", "lightning")

from lightning.pytorch import Callback  # noqa: E402


class Compressed:
    """Before a LightningModule among the bases of a class: the loss of its training step becomes that of the passes.

    A step gives a loss, or a mapping with one at 'loss'; its batch is one of which `Compressor.loss` knows the labels.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        step: Any = cls.training_step  # type: ignore[attr-defined]  # the LightningModule's
        if step.__qualname__ == "LightningModule.training_step":
            raise TypeError(f"{cls.__name__} has no training_step: put Compressed before a class that has one")

        @functools.wraps(step)
        def training_step(self: Any, batch: Any, *rest: Any, **named: Any) -> Any:
            given, compressor = step(self, batch, *rest, **named), getattr(self, PART, None)
            if compressor is None or given is None:
                return given
            if isinstance(given, Mapping):
                return {**given, "loss": compressor.loss(given["loss"], batch)}
            return compressor.loss(given, batch)

        cls.training_step = training_step  # type: ignore[attr-defined]


class CompressCallback(Preparing, Callback):  # type: ignore[misc]  # Lightning's types are Any
    """Prepares a part of the LightningModule before the optimizers are made; call `finalize` when fitting has ended.

    The arguments are those of `compress.prepare`; the Trainer knows how many steps there are.

    part  the attribute of the LightningModule that is the model.

    `configure_optimizers` must take all of `self.parameters()`.  Checkpoints hold all of it: `fit(…, ckpt_path=…)` of a
    module made alike goes on where they were.
    """

    def __init__(self, *arguments: Any, part: str = "model", **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.part = part
        self.seen = 0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage != "fit" or self.compressor is not None:
            return
        model = getattr(pl_module, self.part, None)
        if model is None:
            raise CompressError(f"the LightningModule has no '{self.part}': say which attribute is the model, by part=")
        compressor = self.prepare(model, pl_module)
        if compressor.changes_loss and not isinstance(pl_module, Compressed):
            name = type(pl_module).__name__
            raise CompressError(f"passes change the loss: write class Taught(Compressed, {name}): ..., and fit that")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        assert self.compressor is not None
        optimizers = trainer.optimizers
        self.check_optimized(each for one in optimizers for group in one.param_groups for each in group["params"])
        total = trainer.estimated_stepping_batches
        self.compressor.begin(int(total) if math.isfinite(total) else None)
        self.seen = trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        assert self.compressor is not None
        if trainer.global_step > self.seen:  # not within an accumulation of gradients
            self.seen = trainer.global_step
            self.compressor.step()
