"""Blocks: they part the layers that run among them, and a walk over them gives what a plain forward gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from compress.models.activations import QuantizedActivation, set_activations
from compress.models.blocks import BlockWalk, find_blocks, inside, run_block
from compress.models.calls import tensors
from compress.models.layers import weighted_layers
from tests.nets import conv_net, images, run, transformer


def efficientnet() -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()


def torchvision_model(name: str, **options: int) -> nn.Module:
    import torchvision

    return getattr(torchvision.models, name)(weights=None, **options).eval()


def vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5).eval()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "efficientnet": efficientnet,
    "resnet18": lambda: torchvision_model("resnet18"),
    "mobilenet_v2": lambda: torchvision_model("mobilenet_v2"),
    "vit": vit,
    "convolutions": conv_net,
    "transformer": transformer,
}
SIZE = {"convolutions": 8, "transformer": 8}


@pytest.fixture(scope="module", params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return MODELS[request.param](), images(2, SIZE.get(request.param, 32))


def ran(model: nn.Module, names: list[str], x: Tensor) -> list[str]:
    """Those of the modules that run, in their order."""
    order: list[str] = []
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda module, inputs, name=name: order.append(name))
        for name in names
    ]
    run(model, x)
    for handle in handles:
        handle.remove()
    return order


def test_blocks_part_the_layers_that_run_among_them_in_their_order(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    blocks = find_blocks(model, x[:1])
    for layer in ran(model, list(weighted_layers(model)), x[:1]):
        assert sum(inside(layer, block) for block in blocks) == 1, layer
    assert ran(model, blocks, x[:1]) == blocks


def test_a_walk_gives_the_inputs_and_outputs_of_a_plain_forward(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    blocks = find_blocks(model, x[:1])
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    handles = []
    for name in blocks:
        module = model.get_submodule(name)
        keep_input: Any = lambda module, given, name=name: inputs.update({name: given[0].clone()})  # noqa: E731
        keep_output: Any = lambda module, given, out, name=name: outputs.update({name: out.clone()})  # noqa: E731
        handles += [module.register_forward_pre_hook(keep_input), module.register_forward_hook(keep_output)]
    run(model, x)
    for handle in handles:
        handle.remove()
    walk = BlockWalk(model, blocks, [(part,) for part in x.split(1)])
    for block in blocks:
        given = walk.inputs(block)
        torch.testing.assert_close(torch.cat([arguments.args[0] for arguments in given]), inputs[block])
        results = run_block(model, block, given)
        torch.testing.assert_close(torch.cat(results), outputs[block])
        walk.done(block, results)
    assert not any("forward" in vars(module) for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_blocks_of_a_residual_network_are_its_residual_blocks() -> None:
    expected = ["conv1", *(f"layer{stage}.{number}" for stage in (1, 2, 3, 4) for number in (0, 1)), "fc"]
    assert find_blocks(torchvision_model("resnet18"), images(1, 32)) == expected


def test_blocks_of_an_efficient_network_are_its_inverted_residuals() -> None:
    blocks = find_blocks(efficientnet(), images(1, 32))
    depths = (1, 2, 2, 3, 3, 4, 1)
    inner = [f"blocks.{stage}.{number}" for stage, depth in enumerate(depths) for number in range(depth)]
    assert blocks == ["conv_stem", *inner, "conv_head", "classifier"]


def test_blocks_of_a_transformer_are_its_layers() -> None:
    expected = ["conv_proj", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1", "heads.head"]
    assert find_blocks(vit(), images(1, 32)) == expected
    assert find_blocks(transformer(), images(1)) == ["embed", "blocks.0", "blocks.1", "head"]


def test_layers_in_a_row_are_blocks_of_their_own_in_the_order_they_run() -> None:
    class Backwards(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](self[1](self[2](x)))

    model = Backwards(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(9, 9))
    assert find_blocks(model, torch.ones(1, 3)) == ["2", "0"]  # the last one does not run


def pair() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 3))


class Skipping(nn.Module):
    """The first block's output is read by the second and the fourth; that of the second and third by the next alone."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([pair() for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        first = self.blocks[0](x)
        third = self.blocks[2](self.blocks[1](first))
        return self.blocks[3](torch.relu_(third) + first)


def num_bytes(outputs: list[Tensor]) -> int:
    return sum(output.untyped_storage().nbytes() for output in outputs)


def test_an_output_takes_no_memory_once_no_later_block_reads_it() -> None:
    model = Skipping()
    batches = [(torch.randn(5, 3),), (torch.randn(2, 3),)]
    blocks = find_blocks(model, batches[0][0])
    walk = BlockWalk(model, blocks, batches)
    full = 4 * 3 * (5 + 2)
    sizes = []
    for block in blocks:
        walk.done(block, run_block(model, block, walk.inputs(block)))
        sizes.append([num_bytes(walk.outputs[name]) for name in walk.outputs])
    empty = 2 * 4  # one number a batch
    # the last block's output is the model's own
    assert sizes == [[full], [full, full], [full, empty, full], [empty, empty, empty, full]]
    assert [output.shape for output in walk.outputs["blocks.0"]] == [(5, 3), (2, 3)]


def test_a_block_that_works_in_place_leaves_its_inputs_as_they_were() -> None:
    class Adding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x += self.b(self.a(x))
            return x

    model, x = nn.Sequential(nn.Linear(3, 3), Adding(), Adding()), torch.randn(4, 3)
    walk = BlockWalk(model, ["0", "1", "2"], [(x,)])
    for block in walk.blocks:
        inputs = walk.inputs(block)
        before = inputs[0].args[0].clone()
        first, second = run_block(model, block, inputs), run_block(model, block, inputs)
        assert torch.equal(inputs[0].args[0], before)
        assert torch.equal(first[0], second[0])
        walk.done(block, first)
    assert torch.equal(first[0], run(model, x))


class Both(NamedTuple):
    states: Tensor
    extra: dict[str, Tensor | None]


class Structured(nn.Module):
    """Blocks that give more than a tensor, and take arguments by name."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor, other: Tensor | None = None, factor: float = 1.0) -> Both:
            y = self.b(torch.relu(self.a(x))) * factor
            return Both(y if other is None else y + other, {"mask": None, "x": x})

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([self.Block() for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        first = self.layers[0](x, factor=2.0)
        second = self.layers[1](first.states, other=x)
        return self.layers[2](second.states, factor=0.5)[0]


def test_blocks_may_give_nested_results_and_take_arguments_by_name() -> None:
    model = Structured()
    x = torch.randn(2, 3)
    walk = BlockWalk(model, ["layers.0", "layers.1", "layers.2"], [(x,)])
    for block in walk.blocks:
        results = run_block(model, block, walk.inputs(block))
        walk.done(block, results)
    assert torch.equal(results[0][0], run(model, x))
    assert num_bytes(tensors(walk.outputs["layers.0"])) == 2 * 4
    assert isinstance(walk.outputs["layers.0"][0], Both)


def test_an_argument_that_has_only_a_name_keeps_it() -> None:
    class Named(nn.Sequential):
        def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
            return super().forward(x) * scale

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Named(nn.Linear(3, 3), nn.Linear(3, 3))])

        def forward(self, x: Tensor) -> Tensor:
            return self.layers[0](x, scale=2.0)

    model, x = Model(), torch.ones(1, 3)
    inputs = BlockWalk(model, find_blocks(model, x), [(x,)]).inputs("layers.0")
    assert (len(inputs[0].args), inputs[0].keywords) == (1, {"scale": 2.0})
    assert torch.equal(run_block(model, "layers.0", inputs)[0], run(model, x))


def test_a_block_runs_with_the_grids_of_its_own_calls() -> None:
    model, x = conv_net(), images(2)
    keys = ["input", "act:hardtanh:0", "blocks.0.act:relu:0", "blocks.0:add:0", "blocks.1.conv_dw:conv2d:0"]
    set_activations(model, dict.fromkeys(keys, QuantizedActivation(0.25, 100)))
    kept: dict[str, Tensor] = {}
    model.blocks[1].register_forward_hook(lambda module, given, output: kept.update(output=output))
    run(model, x)
    expected = kept["output"]
    blocks = find_blocks(model, x[:1])
    walk = BlockWalk(model, blocks, [(x,)])
    for block in blocks[:3]:
        results = run_block(model, block, walk.inputs(block))
        walk.done(block, results)
    assert blocks[2] == "blocks.1"
    assert torch.equal(results[0], expected)
