"""Between `prepare` and `finalize` a model is an ordinary module: it is saved, copied, wrapped and compiled as any."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError, checkpoint

import compress
from compress.errors import CompressError, ModelError
from compress.models.activations import quantized_activations
from compress.models.quantized import stored
from compress.passes import (
    CorrectBias,
    Distill,
    DistillQuantized,
    FoldBatchNorm,
    Pass,
    PruneMagnitude,
    QuantizeWeights,
    TrainQuantized,
    TuneNormsAndScales,
)
from compress.training.phase import Compressor
from compress.training.settings import FeatureLoss, LogitsLoss
from tests.nets import images, lively, run
from tests.training.nets import Net

STEPS = 6


def net(channels: int = 4, seed: int = 0) -> nn.Module:
    return lively(Net(channels), seed)


GRIDS: dict[str, Any] = {"num_bits": 4, "activation_bits": 8}
PASSES: dict[str, tuple[Pass, ...]] = {
    "weights": (TrainQuantized(num_bits=4),),
    "all, taught": (TrainQuantized(**GRIDS, freeze=0.5, logits=LogitsLoss()),),
    "observed": (TrainQuantized(**GRIDS, ranges="observed", freeze=0.5),),
    "given": (FoldBatchNorm(), QuantizeWeights(num_bits=2), DistillQuantized()),
    "tuned": (FoldBatchNorm(), QuantizeWeights(num_bits=3, symmetric=False), TuneNormsAndScales()),
    "features": (Distill(features=FeatureLoss(modules={"act": "act"}), fade=0.8), TrainQuantized(**GRIDS)),
}
on_all = pytest.mark.parametrize("name", PASSES)


@dataclass
class Training:
    """A loop as anybody might write it."""

    model: nn.Module
    compressor: Compressor
    optimizer: torch.optim.Optimizer

    def steps(self, start: int, end: int, forward: Any = None) -> list[float]:
        """The losses of these steps, whose batches are functions of their numbers."""
        losses = []
        for step in range(start, end):
            self.model.train()
            x, labels = images(seed=step), torch.arange(8) % 5
            self.optimizer.zero_grad()
            logits = (self.model if forward is None else forward)(x)
            loss = self.compressor.loss(nn.functional.cross_entropy(logits, labels), (x, labels))
            loss.backward()
            self.optimizer.step()
            self.compressor.step()
            losses.append(loss.item())
        return losses

    def state(self) -> dict[str, Any]:
        parts = {"model": self.model, "compressor": self.compressor, "optimizer": self.optimizer}
        return copy.deepcopy({name: part.state_dict() for name, part in parts.items()})

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.compressor.load_state_dict(state["compressor"])
        self.optimizer.load_state_dict(state["optimizer"])


def begin(name: str, seed: int = 0) -> Training:
    model = net(seed=seed)
    data = images(seed=99)
    compressor = compress.prepare(
        model, PASSES[name], teacher=net(6, seed=9), batches=lambda: [(data,)], total_steps=STEPS, seed=seed
    )
    optimizer = torch.optim.SGD([*model.parameters(), *compressor.parameters()], 0.02, momentum=0.9)
    return Training(model, compressor, optimizer)


def assert_same(one: nn.Module, other: nn.Module) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert quantized_activations(one) == quantized_activations(other)
    assert torch.equal(run(one, images()), run(other, images()))


@on_all
def test_what_finalize_gives_is_what_was_trained(name: str) -> None:
    training = begin(name)
    training.steps(0, STEPS)
    before = run(training.model.eval(), images())
    model = training.compressor.finalize()
    after = run(model, images())
    # folding may move a value over the middle between two steps of an activation's grid
    assert float((after - before).square().mean().sqrt() / before.std()) < 0.05
    assert all(stored(module) is not None for module in (model.conv1, model.conv2, model.head))
    assert isinstance(model.bn, nn.Identity)
    assert not [key for key in model.state_dict() if "learned" in key]
    assert not any(module._forward_hooks or module._forward_pre_hooks for path, module in model.named_modules() if path)


@on_all
def test_a_training_that_goes_on_from_its_state_ends_as_one_that_never_stopped(name: str) -> None:
    """Stopped after four of six steps: what freezes after half of them is frozen, and what fades has faded."""
    whole = begin(name)
    losses = whole.steps(0, STEPS)
    stopped = begin(name)
    stopped.steps(0, 4)
    resumed = begin(name, seed=5)  # from other weights, of which nothing may be left
    resumed.load(stopped.state())
    assert resumed.steps(4, STEPS) == losses[4:]
    assert_same(whole.compressor.finalize(), resumed.compressor.finalize())


@on_all
def test_a_copy_is_a_training_of_its_own(name: str) -> None:
    training = begin(name)
    training.steps(0, 2)
    average = copy.deepcopy(training.model)  # as those do that average weights
    assert torch.equal(run(average.eval(), images()), run(training.model.eval(), images()))
    copied = copy.deepcopy(training)
    before = copied.state()
    losses = training.steps(2, STEPS)
    assert torch.equal(
        before["model"]["conv1.parametrizations.weight.original"],
        copied.state()["model"]["conv1.parametrizations.weight.original"],
    )
    assert copied.steps(2, STEPS) == losses
    assert copied.compressor.model is copied.model
    assert_same(training.compressor.finalize(), copied.compressor.finalize())


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@on_all
@pytest.mark.usefixtures("process_group")
def test_in_ddp_the_losses_are_the_same(name: str) -> None:
    """Grids that freeze on the way may not leave DDP waiting for their gradients."""
    alone, wrapped = begin(name), begin(name)
    expected = alone.steps(0, STEPS)
    assert wrapped.steps(0, STEPS, nn.parallel.DistributedDataParallel(wrapped.model)) == pytest.approx(expected)
    assert_same(alone.compressor.finalize(), wrapped.compressor.finalize())


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch.compile's own look at it
@pytest.mark.slow
@pytest.mark.parametrize("name", ["all, taught", pytest.param("observed", marks=pytest.mark.slow)])
def test_torch_compile_traces_the_forward_whole_and_changes_nothing(name: str) -> None:
    torch._dynamo.reset()
    alone, compiled = begin(name), begin(name)
    expected = alone.steps(0, STEPS)
    assert compiled.steps(0, STEPS, torch.compile(compiled.model, backend="eager", fullgraph=True)) == expected
    assert_same(alone.compressor.finalize(), compiled.compressor.finalize())
    torch._dynamo.reset()


def test_what_is_frozen_stays_so_whatever_the_loop_does() -> None:
    training = begin("all, taught")
    training.steps(0, 3)
    grids = {name: value.clone() for name, value in training.model.state_dict().items() if name.endswith("held")}
    mean = training.model.bn.running_mean.clone()
    training.steps(3, STEPS)  # which calls model.train() each time
    assert torch.equal(training.model.bn.running_mean, mean)
    model = training.compressor.finalize()
    assert all(float(value) > 0 for value in grids.values())
    assert {grid.scale for grid in quantized_activations(model).values()} == {float(value) for value in grids.values()}


def test_masks_stay_through_a_training_and_into_the_codes() -> None:
    model = net()
    compressor = compress.prepare(
        model,
        [PruneMagnitude(sparsity=0.5, targets=("conv2",)), TrainQuantized(num_bits=4), CorrectBias()],
        batches=lambda: [(images(),)],
    )
    Training(model, compressor, torch.optim.SGD(model.parameters(), 0.1)).steps(0, 3)
    quantized = compressor.finalize()
    part = stored(quantized.conv2)
    assert part is not None
    assert float((part.codes == 0).float().mean()) >= 0.5


def test_randomness_is_the_seed_s_and_the_loop_s_own_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    model, teacher = net(), net(6)
    torch.manual_seed(3)
    compress.prepare(model, PASSES["features"], teacher=teacher, batches=lambda: [(images(),)], total_steps=STEPS)
    assert torch.equal(torch.rand(4), expected)
    one, other = begin("features"), begin("features")
    assert all(
        torch.equal(a, b) for a, b in zip(one.compressor.parameters(), other.compressor.parameters(), strict=True)
    )
    assert list(one.compressor.parameters())


@pytest.mark.parametrize(
    ("passes", "given", "error", "told"),
    [
        ([TrainQuantized(freeze=0.5)], {}, CompressError, "train.quantized: its schedule is a share of the training"),
        ([Distill(logits=LogitsLoss())], {}, CompressError, "a pass learns from a teacher: give teacher="),
        ([TrainQuantized(**GRIDS)], {}, CompressError, "a pass reads calibration inputs: give batches="),
        (
            [TrainQuantized(**GRIDS, targets=("conv*",)), TrainQuantized(**GRIDS, targets=("head",))],
            {"batches": lambda: [(images(),)]},
            ModelError,
            "activations are on grids that another pass trains",
        ),
    ],
)
def test_what_is_missing_is_told(passes: list[Pass], given: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        compress.prepare(net(), passes, **given)


class Checkpointed(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn(self.conv1(x)))
        return self.head(checkpoint(self.conv2, y, use_reentrant=False).mean((2, 3)))


def test_gradient_checkpointing_works_with_weights_and_is_refused_with_activations() -> None:
    """What is repeated in the backward would have no grids: torch notices it."""
    model = lively(Checkpointed(4))
    model.bn = nn.Identity()
    compressor = compress.prepare(model, [TrainQuantized(num_bits=4)])  # which needs no inputs then
    Training(model, compressor, torch.optim.SGD(model.parameters(), 0.01)).steps(0, 1)
    model = lively(Checkpointed(4))
    compressor = compress.prepare(model, [TrainQuantized(**GRIDS)], batches=lambda: [(images(),)])
    with pytest.raises(CheckpointError):
        Training(model, compressor, torch.optim.SGD(model.parameters(), 0.01)).steps(0, 1)


def test_a_sequence_of_modules_is_trained_too() -> None:
    """It calls all that is a part of it: what is learned may not be one."""
    model = lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)))
    compressor = compress.prepare(model, [TrainQuantized(**GRIDS)], batches=lambda: [(images(),)])
    Training(model, compressor, torch.optim.SGD(model.parameters(), 0.01)).steps(0, 2)
    names = [name for name, _ in compressor.finalize().named_children()]
    assert names == ["0", "1", "2", "3", "4"]
