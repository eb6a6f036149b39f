"""reconstruct: block by block, rounding or weights, scales, biases and ranges are learned so that the quantized block
gives what the float block gave, from the inputs that the quantized blocks before it give.

Blocks and their losses: BRECQ (Li et al. 2021, arXiv:2102.05426).  Rounding by signed gradient descent on offsets of at
most half a step: AutoRound (Cheng et al. 2023, arXiv:2309.05516).  Weights of a block trained whole: EfficientQAT's
first phase (Chen et al. 2024, arXiv:2407.11062).  While learning, some activations stay float: QDrop (Wei et al. 2022,
arXiv:2203.05740)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Interval

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.blocks import Arguments
    from compress.models.learned import LearnedBlock

    BlockError = Callable[[Tensor, Tensor], Tensor]  # of what a block gives, and what it should give

# A block whose error is already as small as this is left as it is.
NEGLIGIBLE = 1e-5


@register("reconstruct")
@dataclass(frozen=True)
class Reconstruct(Pass):
    """Learn rounding or weights, scales, biases and ranges block by block against the float block's output.

    learns               'rounding': each weight goes up or down, at most half a step of the grid from where it was.
                         'weights': they go as far as training takes them: for three bits and fewer.  Of 3:4 ternary
                         weights, whose rounding is that of four, 'rounding' learns the scales alone.
    loss                 'squared': errors of a block's output count alike.  'fisher': those of a token or image as
                         shares of its size, those of a channel by Fisher's information of it: for language models,
                         whose first token and few channels are far larger than all others and drown them.
    iterations           optimizer steps a block.
    patience             steps without a lower loss, smoothed over as many, after which a block is done; null: all.
    batch_size           samples a step.
    rounding_rate        first step of the rounding offsets, in grid steps, falling to zero; null: 1 / iterations.
    weight_rate          likewise of weights that are trained whole (Adam).
    learning_rate        of scales, biases and ranges (relative to their size; Adam, falling to zero).
    drop_probability     share of activations that stay float while learning (QDrop).

    A killed run goes on behind the last block that was learned.
    """

    learns: Literal["rounding", "weights"] = "rounding"
    loss: Literal["squared", "fisher"] = "squared"
    iterations: Annotated[int, Ge(1)] = 200
    patience: Annotated[int, Ge(1)] | None = None
    batch_size: Annotated[int, Ge(1)] = 8
    rounding_rate: Annotated[float, Interval(gt=0, le=1)] | None = None
    weight_rate: Annotated[float, Interval(gt=0, le=1)] = 0.05
    learning_rate: Annotated[float, Interval(ge=0, le=1)] = 1e-3
    drop_probability: Annotated[float, Interval(ge=0, lt=1)] = 0.0

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import quantized_weights

        if not quantized_weights(model):
            raise ModelError(f"{self.name}: no weight is quantized: put quantize.weights or quantize.static before")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        import torch

        from compress.models.blocks import BlockWalk, find_blocks, last_holding, run_block
        from compress.models.calls import tensors
        from compress.models.kept_blocks import KeptBlocks
        from compress.models.layers import weighted_layers
        from compress.models.quantized import as_float, stored

        batches = list(context.batches())
        blocks = find_blocks(model, *context.example())
        exact, quantized = BlockWalk(model, blocks, batches), BlockWalk(model, blocks, batches)
        generator = torch.Generator().manual_seed(context.seed)
        measures = self.measures(model, blocks, batches, context)
        blocks = blocks[: last_holding(blocks, [n for n, layer in weighted_layers(model).items() if stored(layer)]) + 1]
        kept = KeptBlocks(model, context.directory)
        for block in context.progress(blocks, "reconstructing blocks", len(blocks)):
            with as_float(model):
                wanted = run_block(model, block, exact.inputs(block))
            inputs = quantized.inputs(block)
            note = kept.take(block, generator)
            if note is None:
                goals = [tensors(output)[0] for output in wanted]
                note = self.learn(model, block, inputs, goals, measures(block, goals), generator)
                kept.keep(block, note, generator)
            context.notes.append(f"{block}: {note}")
            if block != blocks[-1]:  # the outputs of a head are large
                exact.done(block, wanted)
                quantized.done(block, run_block(model, block, inputs))
        return model

    def measures(
        self, model: nn.Module, blocks: list[str], batches: list[tuple[Tensor, ...]], context: Context
    ) -> Callable[[str, list[Tensor]], BlockError]:
        """Makes the loss of a block from its goals."""
        from compress.allocation.information import channel_information
        from compress.allocation.sensitivity import rows_of
        from compress.models.quantized import as_float
        from compress.numerics.block_error import FisherError, SquaredError

        if self.loss == "squared":
            return lambda block, goals: SquaredError(goals)
        with as_float(model):
            few = rows_of(batches, model)
            known = channel_information(model, blocks, few, context.seed, context.progress)
        return lambda block, goals: FisherError(goals, known[block])

    def learn(
        self,
        model: nn.Module,
        block: str,
        inputs: list[Arguments],
        goals: list[Tensor],
        measure: BlockError,
        generator: Any,
    ) -> str:
        """Learn one block; returns its error before and after."""
        from compress.models.blocks import run_block
        from compress.models.calls import tensors
        from compress.models.learned import LearnedBlock

        size = sum(goal.numel() for goal in goals)

        def error() -> float:
            given = [tensors(output)[0] for output in run_block(model, block, inputs)]
            return sum(float(measure(own, goal)) * goal.numel() for own, goal in zip(given, goals, strict=True)) / size

        before = error()
        if before < NEGLIGIBLE:
            return f"{before:.2e}, left as it is"
        with LearnedBlock(model, block, self.drop_probability, generator, self.learns) as learned:
            if not learned.magnitudes:
                return f"{before:.2e}, nothing in it is quantized"
            steps = self.optimize(learned, samples(inputs, goals), measure, generator)
            learned.settle()
            after = error()
            if after > before:
                learned.undo()
                return f"{before:.2e}, learning did not lower it"
        return f"{before:.2e} → {after:.2e}" + ("" if steps == self.iterations else f", done after {steps} steps")

    def optimize(self, learned: LearnedBlock, given: Samples, measure: BlockError, generator: Any) -> int:
        """Learn the block; returns the steps that it took."""
        import torch

        rate = self.rounding_rate or 1 / self.iterations
        optimizer = torch.optim.Adam(learned.groups(self.learning_rate, self.weight_rate))
        first = [group["lr"] for group in optimizer.param_groups]
        size = min(self.batch_size, given.count)
        patience = Patience(self.patience)
        for iteration in range(self.iterations):
            parts = given.take(torch.randperm(given.count, generator=generator)[:size])
            learned.zero_grad()
            total = 0.0
            for arguments, goal in parts:
                loss = measure(learned(arguments), goal) / len(parts)
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            remaining = 1 - iteration / self.iterations
            learned.step_offsets(rate * remaining)
            for group, initial in zip(optimizer.param_groups, first, strict=True):
                group["lr"] = initial * remaining
            optimizer.step()
            if patience.ends(total):
                return iteration + 1
        return self.iterations

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import quantized_weights

        if not quantized_weights(model):
            raise PromiseBroken(f"{self.name}: no weight is quantized any more")


class Patience:
    """Whether a loss, smoothed over `steps` values, has not been lower for as many; None: never."""

    def __init__(self, steps: int | None) -> None:
        self.steps, self.smooth, self.lowest, self.since = steps, 0.0, float("inf"), 0
        self.count = 0

    def ends(self, loss: float) -> bool:
        if self.steps is None:
            return False
        self.count += 1
        self.smooth += (loss - self.smooth) / min(self.count, self.steps)
        self.since = 0 if self.smooth < self.lowest else self.since + 1
        self.lowest = min(self.lowest, self.smooth)
        return self.since >= self.steps


@dataclass(frozen=True)
class Samples:
    """What a block is taught: `count` samples, and the calls (with what they should give) that hold some of them."""

    count: int
    take: Callable[[Tensor], list[tuple[Arguments, Tensor]]]


def samples(inputs: list[Arguments], goals: list[Tensor]) -> Samples:
    """Single samples, taken in one call, where all calls are alike; else the calls themselves (sentences differ in
    length, and what they are called with by name need not have a batch)."""
    import torch

    from compress.models.blocks import Arguments

    shapes = {tuple(x.shape[1:] if isinstance(x, torch.Tensor) else None for x in call.args) for call in inputs}
    plain = all(
        not call.keywords and all(x is None or isinstance(x, torch.Tensor | int | float) for x in call.args)
        for call in inputs
    )
    whole = all(
        len(x) == len(goal)
        for call, goal in zip(inputs, goals, strict=True)
        for x in call.args
        if isinstance(x, torch.Tensor) and x.dim()
    )
    if not (plain and whole and len(shapes) == 1):
        return Samples(len(inputs), lambda rows: [(inputs[row], goals[row]) for row in rows.tolist()])
    # what is no tensor (a mask that is None) is the same for all
    columns = [
        _channels_last(torch.cat(column)) if isinstance(column[0], torch.Tensor) else column[0]
        for column in zip(*(call.args for call in inputs), strict=True)
    ]
    goal = torch.cat(goals)

    def take(rows: Tensor) -> list[tuple[Arguments, Tensor]]:
        args = tuple(column[rows] if isinstance(column, torch.Tensor) else column for column in columns)
        return [(Arguments(args, {}), goal[rows])]

    return Samples(len(goal), take)


def _channels_last(x: Tensor) -> Tensor:
    """Images with the channels innermost: convolutions train twice as fast."""
    import torch

    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
