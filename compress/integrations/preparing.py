"""What the callbacks have in common: they prepare a model, and its compressor is a part of it while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError
from compress.passes.base import Pass
from compress.preparing import prepare
from compress.targets import Target

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.training.phase import Compressor

# The submodule that is the compressor: so its parameters are the optimizer's, DDP knows them, and each checkpoint of
# the model holds its state.
PART = "compressor"


class Preparing:
    """The arguments are those of `compress.prepare`."""

    def __init__(
        self,
        passes: Sequence[Pass],
        *,
        teacher: Callable[..., Any] | None = None,
        batches: Callable[[], Iterable[tuple[Tensor, ...]]] | None = None,
        target: Target | str = "generic",
        seed: int = 0,
    ) -> None:
        self.passes, self.teacher, self.batches, self.target, self.seed = passes, teacher, batches, target, seed
        self.compressor: Compressor | None = None
        self.owner: nn.Module | None = None

    def prepare(self, model: nn.Module, owner: nn.Module) -> Compressor:
        """Prepare `model`; the compressor becomes a part of `owner`, which is the model or what holds it."""
        if hasattr(owner, PART):
            raise CompressError(f"the model has a part '{PART}' already: finalize its training before another begins")
        # how long the training is, `begin` tells
        compressor = prepare(
            model,
            self.passes,
            teacher=self.teacher,
            batches=None if self.batches is None else self._beside(model),
            target=self.target,
            seed=self.seed,
            total_steps=1,
        )
        compressor.total_steps = None
        owner.add_module(PART, compressor)
        self.compressor, self.owner = compressor, owner
        return compressor

    def _beside(self, model: nn.Module) -> Callable[[], Iterable[tuple[Tensor, ...]]]:
        """The calibration inputs where the model is."""
        batches, device = self.batches, next(model.parameters()).device
        assert batches is not None

        def moved() -> Iterable[tuple[Tensor, ...]]:
            for batch in batches():
                yield tuple(tensor.to(device) for tensor in batch)

        return moved

    def finalize(self) -> nn.Module:
        """End the training: the model as the passes promise it, with nothing left to be learned."""
        if self.compressor is None or self.owner is None:
            raise CompressError("nothing was trained: finalize comes after the training")
        compressor = self.compressor
        delattr(self.owner, PART)
        self.compressor = self.owner = None
        return compressor.finalize()

    def check_optimized(self, optimized: Iterable[Tensor]) -> None:
        """Raise CompressError unless all that is learned is among these."""
        assert self.owner is not None
        known = {id(parameter) for parameter in optimized}
        missing = [name for name, each in self.owner.named_parameters() if each.requires_grad and id(each) not in known]
        if missing:
            raise CompressError(
                f"the optimizer does not know {missing[0]}, which is learned: make it after the model is prepared, of "
                "all its parameters"
            )
