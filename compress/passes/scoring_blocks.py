"""How much each block of a model matters, on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.passes.base import Context


def influences(model: nn.Module, runs: Sequence[Sequence[str]], context: Context) -> list[float]:
    """For each run of blocks, 1 − cosine of what its first is given and its last gives, the mean over the batches."""
    import torch

    from compress.models.calls import forward
    from compress.models.hooks import removing
    from compress.numerics.importance import block_influence

    given: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}
    handles = _watched(model, {name for run in runs for name in (run[0], run[-1])}, given, made)
    totals, count = [0.0] * len(runs), 0
    batches = list(context.batches())
    with removing(handles), torch.no_grad():
        for batch in context.progress(batches, "influence of blocks", len(batches)):
            forward(model, *batch)
            count += len(batch[0])
            for place, run in enumerate(runs):
                totals[place] += float(block_influence(given[run[0]], made[run[-1]])) * len(batch[0])
    return [total / count for total in totals]


def _watched(model: nn.Module, names: set[str], given: dict[str, Tensor], made: dict[str, Tensor]) -> list[Any]:
    """Hooks that keep what these blocks are given and give, channels last."""
    from compress.models.calls import tensors

    def before(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, keywords: dict[str, Any]) -> None:
            given[name] = _channels_last(tensors((args, keywords))[0]).clone()  # a block may work in place

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            made[name] = _channels_last(tensors(output)[0])

        return hook

    modules = {name: model.get_submodule(name) for name in sorted(names)}
    handles: list[Any] = [m.register_forward_pre_hook(before(n), with_kwargs=True) for n, m in modules.items()]
    return handles + [m.register_forward_hook(after(n)) for n, m in modules.items()]


def _channels_last(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, H, W, C]; sequences are so already."""
    return x.permute(0, 2, 3, 1) if x.dim() == 4 else x


def loss_of(model: nn.Module, context: Context) -> Callable[[nn.Module], float]:
    """A model's loss on the calibration data: of a translator the nats a token of its text, of others the divergence
    from what `model` gives now."""
    import torch

    from compress.models.calls import forward, logits_of
    from compress.models.structure import is_translator
    from compress.numerics.importance import divergence, next_token_nll

    batches = list(context.batches())
    if not batches:
        raise ModelError("there are no calibration data to take a loss on")

    def logits(each: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        with torch.no_grad():
            output = forward(each, *batch)
        return logits_of(output)

    if is_translator(model):
        written = 2 if getattr(model.config, "is_encoder_decoder", False) else 0  # whose tokens the logits are of
        tokens = sum(batch[written].numel() - len(batch[written]) for batch in batches)
        return lambda each: sum(float(next_token_nll(logits(each, b), b[written])) for b in batches) / tokens
    expected = [logits(model, batch) for batch in batches]
    samples = sum(len(batch[0]) for batch in batches)
    return lambda each: (
        sum(
            float(divergence(known, logits(each, batch))) * len(batch[0])
            for known, batch in zip(expected, batches, strict=True)
        )
        / samples
    )
