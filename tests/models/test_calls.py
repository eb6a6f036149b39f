"""Calls: every torch function of a forward has a key of its own, and a scope leaves nothing behind."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks

from compress.models.activations import (
    FakeQuantizing,
    QuantizedActivation,
    keep_quantizing,
    quantized_activations,
    set_activations,
)
from compress.models.calls import INPUT, Calls, record, tensors
from compress.models.observe import Observer
from compress.models.quantized import as_float, set_weight
from compress.numerics.grid import nearest
from tests.nets import conv_net, images, run


def left_behind() -> tuple[int, int, int]:
    """Hooks on all modules, before and after a forward, and modes for all torch functions."""
    hooks = (global_hooks._global_forward_pre_hooks, global_hooks._global_forward_hooks)
    return (*map(len, hooks), torch._C._len_torch_function_stack())


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    assert left_behind() == (0, 0, 0)
    yield
    assert left_behind() == (0, 0, 0)


class Mixed(nn.Module):
    """Functions of modules, of the model itself, in place and not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.conv(x))
        z = self.act(y + x)
        z = 1 + z
        z += x
        torch.relu_(z)
        return torch.cat([z, y], 1) * 2


MIXED = {
    "conv:conv2d:0": (INPUT,),
    "act:relu:0": ("conv:conv2d:0",),
    ":add:0": ("act:relu:0", INPUT),
    "act:relu:1": (":add:0",),
    ":add:1": ("act:relu:1",),
    ":add:2": (":add:1", INPUT),
    ":relu:0": (":add:2",),
    ":cat:0": (":relu:0", "act:relu:0"),
    ":mul:0": (":cat:0",),
}


def test_every_call_has_a_key_and_knows_its_inputs() -> None:
    graph = record(Mixed(), images(1, 4))
    assert {call.key: call.inputs for call in graph} == MIXED
    assert graph.outputs == (":mul:0",)
    assert graph.calls[":cat:0"].shape == (1, 6, 4, 4)
    assert [call.key for call in graph.consumers("act:relu:0")] == [":add:0", ":cat:0"]


def test_keys_are_the_same_in_every_forward() -> None:
    model = Mixed()
    seen: list[list[str]] = []

    class Keys(Calls):
        def on_start(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            seen.append([])
            return inputs

        def on_call(self, key: str, function: str, args: Any, kwargs: Any, result: Any) -> Any:
            seen[-1].append(key)
            return result

    with Keys(model):
        for size in (4, 5, 4):
            model(images(2, size))
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    assert [key for key in seen[0] if key in MIXED] == list(MIXED)


def test_a_result_may_be_replaced() -> None:
    class Zero(Calls):
        def on_call(self, key: str, function: str, args: Any, kwargs: Any, result: Any) -> Any:
            return result * 0 if key == ":cat:0" else result

    model, x = Mixed(), images(1, 4)
    with Zero(model):
        assert not model(x).any()
    assert model(x).any()


def test_a_block_that_runs_alone_has_the_keys_it_has_in_its_model() -> None:
    model = conv_net()
    whole = [call.key for call in record(model, images(1)) if call.module.startswith("blocks.0")]
    alone: list[str] = []

    class Keys(Calls):
        def on_call(self, key: str, function: str, args: Any, kwargs: Any, result: Any) -> Any:
            alone.append(key)
            return result

    with Keys(model, model.blocks[0]):
        for _ in range(2):
            run(model.blocks[0], torch.zeros(1, 6, 8, 8))
    assert [key for key in alone if key in whole] == whole * 2


def test_values_are_followed_through_tuples_and_views() -> None:
    class Split(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b = x.chunk(2, 1)
            return a + b.flatten(1).reshape(a.shape)

    graph = record(Split(), torch.ones(1, 4))
    assert graph.calls[":add:0"].inputs == (":chunk:0", ":reshape:0")
    assert graph.calls[":reshape:0"].inputs == (":flatten:0",)


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.Linear(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_an_error_in_the_forward_leaves_nothing_behind() -> None:
    """The fixture looks for hooks and modes."""
    model = Failing()
    with pytest.raises(RuntimeError, match="shapes"):
        record(model, torch.ones(1, 3))
    set_activations(model, {"inner.0:linear:0": QuantizedActivation(0.5, 0)})
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shapes"):
            model(torch.ones(1, 3))
        assert left_behind() == (0, 0, 0)
    model.inner[1] = nn.Identity()
    assert torch.equal(run(model, torch.ones(1, 3)) % 0.5, torch.zeros(1, 3))


def test_an_error_within_a_scope_leaves_a_stack_that_goes_on() -> None:
    model = Mixed()
    kept: dict[str, list[Tensor]] = {key: [] for key in MIXED}
    with Observer(model, {key: values.append for key, values in kept.items()}):
        with pytest.raises(RuntimeError):
            model(torch.ones(1, 2, 4, 4))  # the convolution takes three channels
        model(images(1, 4))
    assert {key: len(values) for key, values in kept.items()} == dict.fromkeys(MIXED, 1)


def test_an_observer_sees_what_the_calls_gave_and_the_input() -> None:
    model, x = Mixed(), images(2, 4)
    kept: dict[str, Tensor] = {}
    watch = {key: (lambda value, key=key: kept.update({key: value.clone()})) for key in (INPUT, ":add:0", "act:relu:0")}
    with Observer(model, watch):
        run(model, x)
    assert torch.equal(kept[INPUT], x)
    assert torch.equal(kept["act:relu:0"], run(nn.Sequential(model.conv, nn.ReLU()), x))
    assert torch.equal(kept[":add:0"], kept["act:relu:0"] + x)


def quantized_net() -> tuple[nn.Module, dict[str, QuantizedActivation]]:
    """Activations on grids at the input, within a block, and at a sum that no module owns."""
    model = conv_net()
    grid = QuantizedActivation(0.25, 100)
    table = {INPUT: grid, "act:hardtanh:0": grid, "blocks.0:add:0": grid, "pool:adaptive_avg_pool2d:0": grid}
    set_weight(model.conv_stem, nearest(model.conv_stem.weight, 4))
    return model, table


def test_activation_grids_work_in_each_forward_and_the_graph_is_that_of_the_float_model() -> None:
    model, table = quantized_net()
    before, float_output = record(model, images(1)), run(model, images())
    set_activations(model, table)
    graph = record(model, images(1))
    assert graph == before
    outputs = [run(model, images()) for _ in range(2)]
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], float_output)
    by_scope = copy.deepcopy(model)
    with as_float(by_scope, weights=False), FakeQuantizing(by_scope, table):
        assert torch.equal(run(by_scope, images()), outputs[0])


class Adding:
    """A grid that is computed by functions that models call too."""

    def fake_quantize(self, x: Tensor) -> Tensor:
        return torch.relu_((x + 1) * 2)


def test_what_a_grid_computes_does_not_count_as_the_model_s_calls() -> None:
    model = Mixed()
    called: list[str] = []

    class Keys(FakeQuantizing):
        def on_call(self, key: str, function: str, args: Any, kwargs: Any, result: Any) -> Any:
            called.append(key)
            return super().on_call(key, function, args, kwargs, result)

    with Keys(model, {INPUT: Adding(), "act:input": Adding(), ":add:0": Adding()}):
        model(torch.ones(1, 3, 2, 2))
    assert called == [call.key for call in record(model, torch.ones(1, 3, 2, 2))]


def test_while_a_model_is_trained_its_forwards_are_the_same_also_by_keyword_and_after_an_error() -> None:
    model, table = quantized_net()
    set_activations(model, table)
    expected, cls = run(model, images()), type(model)
    keep_quantizing(model, True)
    assert isinstance(model, cls)
    assert type(model).__name__ == cls.__name__
    with pytest.raises(RuntimeError):
        model(torch.ones(1, 2, 8, 8))
    assert left_behind() == (0, 0, 0)
    with torch.no_grad():
        assert torch.equal(model(images()), expected)
        assert torch.equal(model(x=images()), expected)
        assert torch.equal(copy.deepcopy(model)(images()), expected)
    keep_quantizing(model, False)
    assert type(model) is cls
    assert not any(module._forward_pre_hooks for name, module in model.named_modules() if name)
    with torch.no_grad():
        assert torch.equal(model(images()), expected)
        assert torch.equal(model(x=images()), expected)


def test_scopes_within_scopes_see_quantized_values() -> None:
    model, table = quantized_net()
    set_activations(model, table)
    kept: list[Tensor] = []
    key = "pool:adaptive_avg_pool2d:0"
    with Observer(model, {key: kept.append}), Observer(model, {"head:linear:0": kept.append}):
        output = run(model, images())
    # an outer scope sees a call's own result, before an inner one puts it on its grid
    expected = run(model.head, table[key].fake_quantize(kept[0]).flatten(1))
    assert torch.equal(kept[1], expected)
    assert torch.equal(kept[1], output)


def test_a_copy_of_a_quantized_model_is_independent_of_it() -> None:
    model, table = quantized_net()
    set_activations(model, table)
    before = run(model, images())
    other = copy.deepcopy(model)
    assert torch.equal(run(other, images()), before)
    set_activations(other, {INPUT: QuantizedActivation(2.0, 3)})
    with as_float(other):
        assert torch.equal(run(model, images()), before)
    assert quantized_activations(model) == table
    assert not torch.equal(run(other, images()), before)


def test_a_quantized_model_is_exported_with_a_node_for_each_grid() -> None:
    model, table = quantized_net()
    set_activations(model, table)
    program = torch.export.export(model, (images(1),), strict=False)
    nodes = [node for node in program.graph.nodes if "compress.fake_quantize" in str(node.target)]
    assert len(nodes) == len(table)
    torch.testing.assert_close(run(program.module(), images(1)), run(model, images(1)))


def test_gradients_pass_through_the_grids_of_a_training_loop() -> None:
    model, table = quantized_net()
    set_activations(model, {key: QuantizedActivation(0.25, 100) for key in table})
    model(images()).square().sum().backward()
    for name in ("head.weight", "blocks.1.conv_pw.weight", "blocks.0.conv1.weight"):
        assert model.get_parameter(name).grad is not None


def test_tensors_are_found_in_order_however_they_are_nested() -> None:
    a, b, c = torch.ones(1), torch.ones(2), torch.ones(3)
    assert [len(x) for x in tensors([(a, None), {"k": b}, 3, [c]])] == [1, 2, 3]
