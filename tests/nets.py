"""Networks of a few hundred weights: convolutions with all that surrounds them, and a transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from compress.passes.base import Context
from compress.targets import load
from compress.training.examples import Batch

Batches = Callable[[], Iterator[tuple[Tensor, ...]]]


class Residual(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + x), in place wherever that is possible."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        y += x
        return self.act(y)


class Separable(nn.Module):
    """A depthwise and a pointwise convolution."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 3, padding=1, stride=2, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()
        self.conv_pw = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(self.act(self.bn1(self.conv_dw(x)))))


class ConvNet(nn.Module):
    """Images [N, 3, 8, 8] → logits [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.act = nn.ReLU6()
        self.blocks = nn.Sequential(Residual(6), Separable(6, 8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.act(self.bn(self.conv_stem(x))))).flatten(1))


class TransformerBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        attention = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1)
        x = x + self.proj(attention @ v)
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """Images [N, 3, 8, 8] → logits [N, 5], by four patches."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.ModuleList([TransformerBlock(8), TransformerBlock(8)])
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode, as if it were trained: normalisations and biases have values of their own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2, generator=generator)
            else:
                parameter.uniform_(0.7, 1.5, generator=generator)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    return model.eval()


def conv_net(seed: int = 0) -> nn.Module:
    return lively(ConvNet(), seed)


def transformer(seed: int = 0) -> nn.Module:
    return lively(Transformer(), seed)


NETS: dict[str, Callable[[], nn.Module]] = {"convolutions": conv_net, "transformer": transformer}


def images(count: int = 8, size: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Labelled:
    """Examples: images whose classes another network chose; `draw` adds noise to them."""

    def __init__(self, count: int = 32) -> None:
        self.images = images(count, seed=3)
        self.labels = run(transformer(9), self.images).argmax(1)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        x = self.images[list(rows)]
        if draw is not None:
            x = x + torch.from_numpy(draw.normal(0, 0.1, x.shape).astype(np.float32))
        return Batch((x,), self.labels[list(rows)])


def context(x: Tensor | None = None, target: str = "generic", seed: int = 0, batch_size: int = 4) -> Context:
    """Calibration on `x`, cut into batches; and what passes train on."""
    data = images() if x is None else x
    return Context(
        lambda: ((part,) for part in data.split(batch_size)),
        load(target),
        seed,
        examples=lambda dataset, augment: Labelled(),
        teacher=lambda wanted: transformer(9),
    )


def run(model: nn.Module, *inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model(*inputs)
