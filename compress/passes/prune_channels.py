"""prune.channels: channels of convolutions and linear layers go, with all that writes, carries and reads them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Interval

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.channels import ChannelGroup
    from compress.passes.choosing_channels import Plan
    from compress.targets import Target

FIRST_MACS = "macs_before_pruning"  # an attribute of the model
_GOALS = ("ratio", "macs", "latency")


@register("prune.channels")
@dataclass(frozen=True)
class PruneChannels(Pass):
    """Make convolutions and linear layers narrower; the model is rebuilt with its new shapes.

    ratio      goal: the share of channels that go, of those of each group of layers that must agree on them, or with
               'global_ranking' of those of all groups together. Rounding leaves more. 'auto': of each group its own
               share, so that the file of the whole recipe fits its budget of bytes and the scores of what goes, which
               are then compared between groups, sum to the least.
    macs       goal: the share of multiply-accumulates (of convolutions and linear layers, one sample) that stay, of
               those that the model had before channels were first pruned; what is left is at most that.
    latency    goal: the share of the latency that stays: of the torch model, in this process, with two threads and one
               sample, not of what is exported. It is the only goal whose result depends on the machine.
    criterion  'magnitude': the L2 norm of all weights that write or read the channel. 'bn_scale': the scale of its
               batch normalisation (before folding). 'taylor': the squared first-order change of the cross-entropy
               against the classes that the model itself says, on the calibration data. 'fpgm': the distance of its
               filter to the others of the layer. 'random': a draw from the seed.
    global_ranking  rank the channels of all groups together (magnitude and fpgm relative to their group's mean), in
               place of the same share of each.
    round_to   what stays of a group is a multiple of this; null: of the target's channel_multiple.
    max_ratio  the largest share of a group's channels that goes.
    ignore     layers whose outputs stay as they are.

    Of channels that a GroupNorm takes one mean of, as in a UNet, all go or none. The classes stay. So do groups that
    run through an operator that mixes channels, or whose shape is written into the model's code: each group is tried
    on a copy first, and those that are left are named in the log.
    """

    lasts_through_training: ClassVar[bool] = True

    ratio: Annotated[float, Interval(gt=0, lt=1)] | Literal["auto"] | None = None
    macs: Annotated[float, Interval(gt=0, lt=1)] | None = None
    latency: Annotated[float, Interval(gt=0, lt=1)] | None = None
    criterion: Literal["magnitude", "bn_scale", "taylor", "fpgm", "random"] = "magnitude"
    global_ranking: bool = False
    round_to: Annotated[int, Ge(1)] | None = None
    max_ratio: Annotated[float, Interval(gt=0, lt=1)] = 0.9
    ignore: tuple[str, ...] = ()

    def selectors(self) -> tuple[str, ...]:
        return self.ignore

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        given = [goal for goal in _GOALS if getattr(self, goal) is not None]
        if len(given) != 1:
            problems.append(f"give exactly one goal: {', '.join(_GOALS)}")
        if isinstance(self.ratio, float) and self.ratio > self.max_ratio:
            problems.append(f"ratio is {self.ratio:g}, and max_ratio {self.max_ratio:g}: raise that too")
        return problems

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        if task == "translation":
            return ["the width of a translator is not pruned: write prune.heads, prune.ffn or prune.layers"]
        return []

    def shares_budget(self) -> bool:
        return self.ratio == "auto"

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.errors import require
        from compress.models.quantized import refuse_quantized
        from compress.models.structure import is_translator

        require("torch_pruning", "pruning channels", "train")
        refuse_quantized(model, self.name)
        if is_translator(model):
            raise ModelError(f"{self.name}: the model is a translator: take prune.heads, prune.ffn or prune.layers")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.channels import remove_channels
        from compress.models.macs import macs, positions
        from compress.models.structure import recording

        example = context.example()
        applied = positions(model, example)
        before, first = macs(model, applied), first_macs(model, applied)
        plan = self.plan(model, context)
        gone = self.chosen(model, plan, applied, context)
        if not gone and self.ratio != "auto":
            raise ModelError(
                f"{self.name}: no channel goes: multiples of {plan.multiple} are kept, and at most "
                f"{self.max_ratio:.0%} of a group goes: write a smaller round_to"
            )
        with recording(model):
            remove_channels(model, gone)
            setattr(model, FIRST_MACS, first)
        removed, after = sum(len(channels) for _, channels in gone), macs(model, applied)
        context.notes.append(
            f"{removed:,} of {plan.num_channels:,} channels are gone; "
            f"{after:,} of {before:,} multiply-accumulates stay ({after / before:.1%})"
        )
        return model

    def plan(self, model: nn.Module, context: Context) -> Plan:
        """The groups that can be made smaller, with their scores."""
        from compress.models.channels import channel_groups
        from compress.models.layers import select
        from compress.passes.choosing_channels import Plan
        from compress.passes.scoring_channels import SCORERS

        groups, left = channel_groups(model, context.example())
        ignored = set(select(model, self.ignore)) if self.ignore else set()
        for name, reason in left.items():
            context.notes.append(f"the channels of {name} stay: {reason}")
        groups = [g for g in groups if not any(m.side == "out" and m.module in ignored for m in g.members)]
        if not groups:
            raise ModelError(f"{self.name}: the model has no channels that can go")
        scorer, relative = SCORERS[self.criterion]
        kept, scores = [], []
        for group, found in zip(groups, scorer(model, groups, context), strict=True):
            if found is None:
                context.notes.append(f"the channels of {group.name} stay: '{self.criterion}' says nothing of them")
                continue
            kept.append(group)
            found = found.reshape(-1, group.block).mean(1).repeat_interleave(group.block)  # a block goes as one
            compared = relative and (self.global_ranking or self.ratio == "auto")
            scores.append(found / found.mean().clamp_min(1e-300) if compared else found)
        multiple = self.round_to or context.target.channel_multiple
        return Plan(tuple(kept), tuple(scores), self.global_ranking, multiple, self.max_ratio)

    def chosen(
        self, model: nn.Module, plan: Plan, applied: dict[str, int], context: Context
    ) -> list[tuple[ChannelGroup, Tensor]]:
        """The channels that go.  Raises ModelError for a goal that cannot be reached."""
        if self.ratio == "auto":
            return self.fitting(model, plan, context)
        if self.ratio is not None:
            return plan.at_share(self.ratio)
        share: Callable[[Sequence[tuple[ChannelGroup, Tensor]]], float]
        if self.macs is not None:
            goal, what = self.macs, "multiply-accumulates"
            first = first_macs(model, applied)
            share = lambda gone: macs_without(model, gone, applied) / first  # noqa: E731
        else:
            assert self.latency is not None  # it is the only goal left
            goal, what = self.latency, "latency"
            share = self.timed(model, context)
        gone = plan.first(lambda some: share(some) <= goal)
        reached = share(gone)
        if reached > goal:
            raise ModelError(
                f"{self.name}: {goal:.1%} of the {what} are to stay, and {reached:.1%} do where as much goes as "
                f"round_to ({plan.multiple}), max_ratio and ignore allow"
            )
        return gone

    def fitting(self, model: nn.Module, plan: Plan, context: Context) -> list[tuple[ChannelGroup, Tensor]]:
        """The channels that go so that the file fits the recipe's budget.  Raises ModelError if it cannot."""
        from compress.models.channels import remove_channels
        from compress.passes.sharing_channels import shared_out, weights_left

        room = context.room
        if room is None:
            raise ModelError(
                f"{self.name}: ratio auto shares out a recipe's budget, and there is none: write the ratio"
            )

        def excess(counts: Sequence[int]) -> int:
            smaller = copy.deepcopy(model)
            remove_channels(smaller, plan.chosen(counts))
            return room.excess(smaller, {})

        counts = shared_out(plan, weights_left(model, plan.groups), excess, room.budget)
        if counts is None:
            raise ModelError(
                f"{self.name}: the budget is {room.budget:,} bytes, and the file misses it where as much goes as "
                f"round_to ({plan.multiple}), max_ratio and ignore allow: raise it, or store weights in fewer bits"
            )
        shares = [(count / group.size, group.name) for count, group in zip(counts, plan.groups, strict=True)]
        (least, first), (largest, last) = min(shares), max(shares)
        context.notes.append(f"from {least:.0%} ({first}) to {largest:.0%} ({last}) of a group's channels go")
        return plan.chosen(counts)

    def timed(self, model: nn.Module, context: Context) -> Callable[[Sequence[tuple[ChannelGroup, Tensor]]], float]:
        """Of a choice, the share of the model's latency that is left."""
        from compress.models.channels import remove_channels
        from compress.passes.timing import relative_latency

        known: dict[int, float] = {}  # by how many go: what was measured once is not measured otherwise the next time

        def share(gone: Sequence[tuple[ChannelGroup, Tensor]]) -> float:
            count = sum(len(channels) for _, channels in gone)
            if count not in known:
                smaller = copy.deepcopy(model)
                remove_channels(smaller, gone)
                known[count] = relative_latency(smaller, model, context.example())
            return known[count]

        return share

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.layers import weighted_layers
        from compress.models.macs import macs, positions
        from compress.models.structure import first_size

        applied = positions(model, context.example())
        if self.macs is not None:
            share = macs(model, applied) / first_macs(model, applied)
            if share > self.macs:
                raise PromiseBroken(
                    f"{self.name}: {share:.1%} of the multiply-accumulates are left, at most {self.macs:.1%} were to be"
                )
        sizes = [
            (first_size(layer, size), getattr(layer, size))
            for layer in weighted_layers(model).values()
            for size in ("out_channels", "out_features")
            if hasattr(layer, size)
        ]
        if self.ratio != "auto" and all(first == now for first, now in sizes):
            raise PromiseBroken(f"{self.name}: no layer has fewer channels than it had")


def first_macs(model: nn.Module, applied: dict[str, int]) -> int:
    """Of the model before its channels were first pruned."""
    from compress.models.macs import macs

    known = getattr(model, FIRST_MACS, None)
    return known if isinstance(known, int) else macs(model, applied)


def macs_without(model: nn.Module, gone: Sequence[tuple[ChannelGroup, Tensor]], applied: dict[str, int]) -> int:
    """Multiply-accumulates without these channels: each layer's by what is left of its inputs and outputs."""
    from compress.models.channels import lost_counts
    from compress.models.layers import is_depthwise, weighted_layers

    lost = lost_counts(gone)
    total = 0
    for name, layer in weighted_layers(model).items():
        outputs, inputs = layer.weight.shape[:2]
        left = (outputs - lost.get((name, "out"), 0)) * (
            inputs if is_depthwise(layer) else inputs - lost.get((name, "in"), 0)
        )
        total += applied[name] * left * math.prod(layer.weight.shape[2:])
    return total
